"""The client's exceptions.

    ClientError
    ├── Unreachable          nothing answers, after all retries
    ├── UnexpectedAnswer     something answers, but not as Sightline does
    ├── FileChanged          a file became shorter while it was sent
    ├── TimedOut             (a TimeoutError) `wait` or `results` reached their timeout
    ├── Cancelled            the picture was cancelled before it was processed
    └── Problem              the service answered with a problem (RFC 9457)
        ├── ImageRefused         … with the picture: EmptyImage, UnsupportedImage, …
        ├── TryLater             … that is temporary: Overloaded, RateLimited, …
        └── …                    one class for each type in docs/reference/problems.md

Each class is named after the last part of its problem's `type`; `PROBLEMS` is the table.
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
    """Base of all errors that a client raises on purpose, except those for wrong arguments."""


class Unreachable(ClientError):
    """Nothing answers. Is the service up, and is this its address?"""


class UnexpectedAnswer(ClientError):
    """Something answers, but not as Sightline does. Is it this service?"""


class FileChanged(ClientError):
    """A file became shorter while it was sent."""


class TimedOut(ClientError, TimeoutError):
    """The pictures took longer than `timeout`. They are still being processed: wait again."""


class Cancelled(ClientError):
    """There are no detections, because the picture was cancelled before it was processed."""


class Problem(ClientError):
    """A problem that the service answered. Unknown types are raised as a plain Problem.

    Attributes:
        status: HTTP status.
        type: `urn:sightline:problem:…`, stable.
        title: the kind of problem, in words.
        detail: what was wrong and what to do.
        retry_after: seconds after which to try again; None if that would not help.
        problem: the whole problem document.
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
    """The exception for a problem document.

    Raises:
        KeyError, TypeError, ValueError: it is not a problem document.
    """
    return PROBLEMS.get(problem["type"], Problem)(problem)


class ImageRefused(Problem, group=True):
    """The picture cannot be used; the subclass says why."""


class EmptyImage(ImageRefused):
    """No bytes at all."""


class UnsupportedImage(ImageRefused):
    """Not a supported picture format."""


class BrokenImage(ImageRefused):
    """Damaged, truncated, or not what its header says."""


class ImageTooLarge(ImageRefused):
    """More pixels than the service allows."""


class UploadTooLarge(ImageRefused):
    """More bytes than the service allows."""


class UrlRefused(ImageRefused):
    """The service may not fetch the picture from this address."""


class UrlFailed(ImageRefused):
    """The picture's host did not deliver the whole file in time."""


class PoisonImage(ImageRefused, slug="culprit"):
    """The service died each time it worked on this picture."""


class PictureUnreadable(ImageRefused):
    """The service cannot read this picture from its disk any more."""


class TryLater(Problem, group=True):
    """Temporary: try again after `retry_after` seconds. The client has retried for `patience`."""


class RateLimited(TryLater):
    """More requests than this client may send in a period of time."""


class TooManyAtOnce(TryLater):
    """More concurrent requests than this client may have."""


class Overloaded(TryLater):
    """The queue is full."""


class StorageUnavailable(TryLater):
    """Tasks cannot be stored or read now."""


class NotServing(TryLater):
    """The service is shutting down, or cannot work."""


class WorkerDied(TryLater):
    """The model is being restarted."""


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
    """The service does not accept the host name in its address."""


class UnknownTask(Problem):
    """There is no such task, or it is another key's."""


class ExpiredTask(Problem):
    """The task's results have expired, or the task was deleted."""


class NotYet(Problem):
    """The picture has not been processed yet."""


class NotEnded(Problem):
    """The task was to be deleted, but is running again: it was retried at the same moment."""


class IdempotencyConflict(Problem):
    """The `idempotency_key` was used for other pictures or options."""


class DeadlineExceeded(Problem):
    """The request took longer than its deadline."""


class Internal(Problem):
    """The service failed; its log has the details."""


class NotFound(Problem):
    """Nothing is at this path: an older service?"""


class NotAcceptable(Problem):
    """The answer is not available in the requested media type."""


class MethodNotAllowed(Problem):
    """The path does not take this method: an older service?"""


class MalformedBody(Problem):
    """The request's body arrived broken."""


class MalformedRequest(Problem):
    """What arrived was not HTTP/1.1."""


class BodyStalled(Problem):
    """The upload stopped, or was too slow."""


class HeadStalled(Problem):
    """The head of the request did not arrive in time."""


class HeadTooLarge(Problem):
    """The address or the headers are too long."""
