"""What a task is: immutable values, and the states that it and its images go through.

    queued → processing → completed | error | cancelled

An image that fails for a reason that may pass goes back to `queued`; a task only when somebody asks
for its failed images to be tried again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Status: TypeAlias = Literal["queued", "processing", "completed", "error", "cancelled"]
"""Of a task and of an image. A task is `error` if all its images are, and `completed` if one is."""

Priority: TypeAlias = Literal["high", "normal", "low"]

CallbackState: TypeAlias = Literal["due", "delivered", "failed"]
"""Of the call that tells of a task's end; `failed` is the end of all attempts."""

ENDED: frozenset[Status] = frozenset({"completed", "error", "cancelled"})
MAX_IMAGES = 100

LONGEST_PAUSE = 60.0
"""Most seconds between two attempts at an image."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an image failed: the name of a class in `errors`, and what it says to the client."""

    error: str
    detail: str


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image of a task that is being submitted.

    Attributes:
        filename: as the client calls it, at most 255 characters; "" if it does not say.
        blob: key of its bytes; None if it is named by `url`, or failed already.
        url: where its bytes are to be had; None if they came with the request.
        size: bytes of the blob, 0 without one.
        failure: why it will not be run.
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
        owner: name of the key that it came with, "" without keys.
        options: what was asked of the detector: `confidence`, `iou`, `classes`, `max_detections`,
            as far as they were given.
        model: name; None for the default.
        digest: of the model that was served under that name at submission, None if unknown.
        fingerprint: SHA-256, in hexadecimal, of all that was sent with an idempotency key;
            compared where the same key comes again.
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
    """One image of a task, as it is now.

    Attributes:
        answer: what `POST /detect` would have answered, as JSON, once it is completed; it does not
            change any more.
        failure: why it failed, once it has.
        attempts: how often it was begun.
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
        """`answer`, read; of many boxes that takes its time."""
        read: dict[str, Any] | None = None if self.answer is None else json.loads(self.answer)
        return read


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to call the callback: when (Unix time), and what came of it."""

    at: float
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """A task, as it is now. Times are seconds of Unix time.

    Attributes:
        version: grows with every change of this task.
        expires: when its results will be forgotten; None before it has ended.
        answered: name of the model that answered; None as long as none has.
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
        """Images that have ended, however they did."""
        return sum(image.status in ENDED for image in self.images)

    @property
    def failed(self) -> int:
        return sum(image.status == "error" for image in self.images)


@dataclass(frozen=True, slots=True)
class Claim:
    """An image that a worker is to work on, and until when (Unix time) it is this worker's.

    Attributes:
        quarantined: a process died while it held this image: nothing else may run beside it.
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
    """What came of a claim: a result, or a failure.

    Attributes:
        result: what `POST /detect` would have answered.
        failure: why not.
        retry_in: seconds after which it is to be tried again; None if the failure is its end.
        counts: whether the attempt counts among the five that an image has.
    """

    claim: Claim
    result: dict[str, Any] | None = None
    failure: Failure | None = None
    retry_in: float | None = None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Backlog:
    """Most images, and bytes of their blobs, that may wait in all tasks together."""

    images: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Glance:
    """How many tasks there are of each status and priority, and how many images wait."""

    statuses: dict[Status, int]
    priorities: dict[Priority, int]
    images_waiting: int
    bytes_waiting: int
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Ids of the tasks that changed, and the sequence number to ask from the next time."""

    sequence: int
    tasks: tuple[str, ...]
