"""Tasks, images, claims and outcomes: immutable values.

The states of a task and of an image:

    queued → processing → completed | error | cancelled

An image that fails temporarily goes back to `queued`. A task does so only when a client retries its
failed images.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Status: TypeAlias = Literal["queued", "processing", "completed", "error", "cancelled"]
"""Status of a task or an image. A task is `error` if all its images are, `completed` if one is."""

Priority: TypeAlias = Literal["high", "normal", "low"]

CallbackState: TypeAlias = Literal["due", "delivered", "failed"]
"""State of the callback at a task's end; `failed` means that there are no more attempts."""

ENDED: frozenset[Status] = frozenset({"completed", "error", "cancelled"})
MAX_IMAGES = 100

LONGEST_PAUSE = 60.0
"""Most seconds between two attempts at an image."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an image failed: the name of a class in `errors`, and the text for the client."""

    error: str
    detail: str


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image of a task that is being submitted.

    Attributes:
        filename: the client's name for it, at most 255 characters; "" if there is none.
        blob: key of its bytes; None if it has a `url`, or has failed already.
        url: address of its bytes; None if they came with the request.
        size: bytes of the blob, 0 without one.
        failure: why it is not processed; None if it is.
    """

    filename: str
    blob: str | None = None
    url: str | None = None
    size: int = 0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task that is being submitted.

    Attributes:
        id: 32 hexadecimal digits.
        owner: name of the client's API key, "" without keys.
        options: detector options that were given, of `confidence`, `iou`, `classes` and
            `max_detections`.
        model: name; None for the default.
        digest: of the model with that name at submission, None if unknown.
        fingerprint: SHA-256 of the request, in hexadecimal; compared when its idempotency key is
            used again.
    """

    id: str
    owner: str
    images: tuple[NewImage, ...]
    options: dict[str, Any]
    priority: Priority = "normal"
    model: str | None = None
    digest: str | None = None
    callback_url: str | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a task, in its current state.

    Attributes:
        answer: the JSON text that `POST /detect` answers for it; None until it is completed. Does
            not change any more.
        failure: why it failed; None if it has not.
        attempts: number of counted attempts.
    """

    index: int
    filename: str
    status: Status
    blob: str | None
    url: str | None
    size: int
    attempts: int = 0
    answer: str | None = None
    failure: Failure | None = None

    @property
    def result(self) -> dict[str, Any] | None:
        """`answer`, parsed anew at each access; slow if it has many boxes."""
        read: dict[str, Any] | None = None if self.answer is None else json.loads(self.answer)
        return read


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt at a callback: its Unix time, and the HTTP status or the error."""

    at: float
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """A task, in its current state. Times are Unix times in seconds.

    Attributes:
        version: grows with every change of this task.
        expires: when its results are removed; None before it has ended.
        answered: name of the model that answered; None before the first answer.
        callback_state: None before the task has ended, or without a callback.
        deliveries: attempts to call the callback, oldest first.
    """

    id: str
    owner: str
    status: Status
    priority: Priority
    options: dict[str, Any]
    model: str | None
    digest: str | None
    callback_url: str | None
    version: int
    created: float
    started: float | None
    ended: float | None
    expires: float | None
    images: tuple[Image, ...]
    answered: str | None = None
    callback_state: CallbackState | None = None
    deliveries: tuple[Delivery, ...] = ()

    @property
    def done(self) -> int:
        """Number of images that have ended: completed, failed or cancelled."""
        return sum(image.status in ENDED for image in self.images)

    @property
    def failed(self) -> int:
        return sum(image.status == "error" for image in self.images)


@dataclass(frozen=True, slots=True)
class Claim:
    """An image that a worker holds until `lease_until` (Unix time).

    Attributes:
        quarantined: a process died while it held this image, so it must run alone.
    """

    task_id: str
    index: int
    owner: str
    blob: str | None
    url: str | None
    options: dict[str, Any]
    model: str | None
    digest: str | None
    attempts: int
    lease_until: float
    quarantined: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a claim: a result, or a failure.

    Attributes:
        result: the answer of `POST /detect` for the image; None if it failed.
        failure: why it failed; None if it did not.
        retry_in: seconds until the next attempt; None if there is none.
        counts: whether this is one of the image's five attempts.
    """

    claim: Claim
    result: dict[str, Any] | None = None
    failure: Failure | None = None
    retry_in: float | None = None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Backlog:
    """Limits on all waiting images together: their number, and the bytes of their blobs."""

    images: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Glance:
    """Counts of tasks by status and by priority, and of waiting images; the latest ids."""

    statuses: dict[Status, int]
    priorities: dict[Priority, int]
    images_waiting: int
    bytes_waiting: int
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Ids of the tasks that changed, and the sequence number for the next request."""

    sequence: int
    tasks: tuple[str, ...]
