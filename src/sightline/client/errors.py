"""What can go wrong between a program and the service.

    ClientError
    ├── Unreachable          nothing answers, for as long as the client is patient
    ├── UnexpectedAnswer     something answers, and not as Sightline does
    ├── FileChanged          a file became shorter while it was sent
    ├── TimedOut             (a TimeoutError) `wait` or `results` took longer than they were given
    ├── Cancelled            the picture was cancelled before it was looked at
    └── Problem              the service said what was wrong (RFC 9457)
        ├── ImageRefused         … with the picture: EmptyImage, UnsupportedImage, …
        ├── TryLater             … nothing, but not now: Overloaded, RateLimited, …
        └── …                    one class for each type in docs/reference/problems.md

A class is named for the last part of its problem's `type`; `PROBLEMS` is the table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sightline.errors import SightlineError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEMS: dict[str, type[Problem]] = {}
"""The class of each problem `type`."""

_PREFIX = "urn:sightline:problem:"


class ClientError(SightlineError):
    """Base of all that a client raises on purpose, but for wrong arguments."""


class Unreachable(ClientError):
    """Nothing answers. Is the service up, and is this its address?"""


class UnexpectedAnswer(ClientError):
    """Something answers, and not as Sightline does. Is it this service?"""


class FileChanged(ClientError):
    """A file became shorter while it was sent."""


class TimedOut(ClientError, TimeoutError):
    """The pictures took longer than `timeout`. They are still worked on: wait again."""


class Cancelled(ClientError):
    """There are no detections, because the picture was cancelled before its turn."""


class Problem(ClientError):
    """The service said what was wrong. A type that this version does not know is a plain Problem.

    Attributes:
        status: of HTTP.
        type: `urn:sightline:problem:…`, stable.
        title: what kind of problem it is, in words.
        detail: what was wrong and what to do.
        retry_after: seconds after which to try again; None if that would not help.
        problem: all that the service said.
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.problem = dict(problem)
        self.status = int(problem["status"])
        self.type = str(problem["type"])
        self.title = str(problem["title"])
        self.detail = str(problem["detail"])
        after = problem.get("retry_after")
        self.retry_after = None if after is None else float(after)
        super().__init__(self.problem)

    def __init_subclass__(cls, *, group: bool = False, slug: str = "") -> None:
        if not group:
            slug = slug or re.sub(r"(?<=.)([A-Z])", r"-\1", cls.__name__).lower()
            PROBLEMS[_PREFIX + slug] = cls

    def __str__(self) -> str:
        return self.detail


def problem_of(problem: Mapping[str, Any]) -> Problem:
    """The exception for what the service said.

    Raises:
        KeyError, TypeError, ValueError: it is no problem document.
    """
    return PROBLEMS.get(problem["type"], Problem)(problem)


class ImageRefused(Problem, group=True):
    """The picture cannot be used; the subclass says why."""


class EmptyImage(ImageRefused):
    """No bytes at all."""


class UnsupportedImage(ImageRefused):
    """Not a picture type that is read."""


class BrokenImage(ImageRefused):
    """Damaged, truncated, or not what its header says."""


class ImageTooLarge(ImageRefused):
    """More pixels than the service allows."""


class UploadTooLarge(ImageRefused):
    """More bytes than the service allows."""


class UrlRefused(ImageRefused):
    """The service may not fetch the picture from this address."""


class UrlFailed(ImageRefused):
    """The picture's host did not give the whole of it in time."""


class PoisonImage(ImageRefused, slug="culprit"):
    """The service died each time it worked on this picture."""


class PictureUnreadable(ImageRefused):
    """The service's disk does not give the bytes of this picture any more."""


class TryLater(Problem, group=True):
    """Nothing was lost: try again after `retry_after` seconds. The client has, in its patience."""


class RateLimited(TryLater):
    """More requests than this client may send in a while."""


class TooManyAtOnce(TryLater):
    """More requests under way than this client may have."""


class Overloaded(TryLater):
    """Too much waits."""


class StorageUnavailable(TryLater):
    """Tasks cannot be kept or read now."""


class NotServing(TryLater):
    """The service goes down, or cannot work."""


class WorkerDied(TryLater):
    """The model is being started again."""


class TooManyConnections(TryLater):
    """More connections than the service may open."""


class BadOption(Problem):
    """An option out of its range, or a class or model that the service does not know."""


class CallbackRefused(Problem):
    """The `callback_url` may not be called."""


class WrongFileCount(Problem):
    """No picture, or too many."""


class ModelUnusable(Problem):
    """The model cannot be loaded."""


class KeyWrong(Problem):
    """An API key is needed: `api_key=`, or SIGHTLINE_API_KEY."""


class NotAllowed(Problem):
    """Nobody may do this, or not this client."""


class HostUnknown(Problem):
    """The service does not answer to the name in its address."""


class UnknownTask(Problem):
    """There is no such task, or it is another key's."""


class ExpiredTask(Problem):
    """The results were kept for as long as it was promised, or the task was forgotten."""


class NotYet(Problem):
    """The picture's turn has not come."""


class NotEnded(Problem):
    """The task goes on: somebody retried it in the moment in which it was to be forgotten."""


class IdempotencyConflict(Problem):
    """The `idempotency_key` was used for other pictures or options."""


class DeadlineExceeded(Problem):
    """It took longer than a request may."""


class Internal(Problem):
    """The service failed; its log has the details."""


class NotFound(Problem):
    """Nothing is at this path: an older service?"""


class NotAcceptable(Problem):
    """The answer is not to be had in the form that was asked for."""


class MethodNotAllowed(Problem):
    """The path does not take this method: an older service?"""


class MalformedBody(Problem):
    """The request's body was broken on its way."""


class MalformedRequest(Problem):
    """What arrived was not HTTP/1.1."""


class BodyStalled(Problem):
    """The upload stopped, or was too slow."""


class HeadStalled(Problem):
    """The head of the request was not there in time."""


class HeadTooLarge(Problem):
    """The address or the headers are too long."""
