"""All errors that Sightline raises on purpose.

The branch tells who can fix it; the message says what is wrong and what to do:

    SightlineError
    ├── ConfigError              the operator: a setting, a device, a model file
    │   └── ModelError               a model file cannot be found, read or understood
    │       └── ModelUnreachable         a download fails for now
    ├── RequestError             the client: its request
    │   ├── MalformedBody            the multipart form is broken
    │   ├── BodyTooLarge             more bytes than allowed
    │   ├── BodyStalled              the body stopped, or came too slowly
    │   ├── WrongFileCount           no file, or more than one
    │   ├── BadOption                an option out of range, an unknown class or model
    │   ├── HostUnknown              a `Host` header that is not allowed
    │   ├── KeyWrong                 the API key is missing or wrong
    │   ├── NotAllowed               nobody, or not this client, may do this
    │   ├── NotAcceptable            the answer has no form that the request accepts
    │   ├── UnknownTask              the task does not exist, or belongs to another key
    │   ├── ExpiredTask              the task's results have expired
    │   ├── Conflict                 the Idempotency-Key was used for something else
    │   ├── NotEnded                 a task cannot be deleted before it has ended
    │   ├── NotYet                   the picture has not been processed yet
    │   ├── UrlError                 the address of a picture
    │   │   ├── UrlRefused               it may not be fetched
    │   │   └── UrlFailed                its host did not deliver the picture
    │   ├── CallbackRefused          the address may not be called when a task ends
    │   └── ImageError               the picture itself
    │       ├── EmptyImage               no bytes at all
    │       ├── UnsupportedImage         not a supported format
    │       ├── BrokenImage              damaged, truncated, or not what its header says
    │       └── ImageTooLarge            more pixels than allowed
    ├── TryLater                 temporary: try again after `retry_after` seconds
    │   ├── Overloaded               the queue is full
    │   ├── StorageUnavailable       the operator: disk full, database locked or unreachable
    │   │   └── UnreadablePicture        the bytes of one picture cannot be read
    │   ├── RateLimited              the client: too many requests in a period of time
    │   └── TooManyAtOnce            the client: too many concurrent requests
    ├── DeadlineExceeded         it took longer than the client's deadline
    ├── DetectorClosed           the calling program: used after close()
    │   └── WorkerDied               a bug: the worker thread died; a service restarts it
    ├── PoisonImage              unknown: the process died each time it worked on this picture
    └── InferenceError           a bug: the engine failed, or its outputs are wrong

Nothing here knows of HTTP: the table from errors to statuses is in `api/problems.py`.
"""

from __future__ import annotations


class SightlineError(Exception):
    """Something failed inside. Base of all errors that Sightline raises on purpose."""


class ConfigError(SightlineError):
    """The operator can fix it: an option, a device or an engine that is not there."""


class ModelError(ConfigError):
    """The operator can fix it: a model file that cannot be found, read or understood."""


class ModelUnreachable(ModelError):
    """A model cannot be downloaded for now: no connection, no such host, a stall."""


class RequestError(SightlineError):
    """The client can fix it: something is wrong with what was sent."""


class MalformedBody(RequestError):
    """The body's envelope is broken: no boundary, cut-off multipart."""


class BodyTooLarge(RequestError):
    """More bytes than `limit`. Raised while the body is still being read."""

    def __init__(
        self,
        limit: int,
        advice: str = "Send a smaller picture, or raise SIGHTLINE_MAX_UPLOAD_MB on the server.",
    ) -> None:
        self.limit = limit
        super().__init__(f"The upload is larger than the limit of {limit / 2**20:g} MB. {advice}")


class BodyStalled(RequestError):
    """The body stopped coming, or came too slowly."""


class WrongFileCount(RequestError):
    """No file where one is needed, or more than one."""


class BadOption(RequestError):
    """An option out of its range, or a class or model that the server does not know."""


class HostUnknown(RequestError):
    """The `Host` header names something that this service does not answer to."""


class KeyWrong(RequestError):
    """A key is needed, and it is missing or not the right one."""


class NotAllowed(RequestError):
    """Nobody may do this here, or not this client."""


class NotAcceptable(RequestError):
    """The answer is not available in a form that the request accepts."""


class UnknownTask(RequestError):
    """There is no such task, or it belongs to somebody else."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"There is no task '{task_id[:80]}'. Look at the task_id that POST /predict answered."
        )


class ExpiredTask(RequestError):
    """The task's results are gone: they were kept for as long as it was promised."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"The results of task '{task_id[:80]}' have expired and are deleted. Upload the "
            "pictures again; SIGHTLINE_RESULT_TTL on the server says how long results are kept."
        )


class Conflict(RequestError):
    """An Idempotency-Key came again with something else."""


class NotEnded(RequestError):
    """A task that is to be deleted has not ended: it was retried at this moment."""


class NotYet(RequestError):
    """What is asked of a picture is not there before its turn has come."""


class UrlError(RequestError):
    """A picture cannot be fetched from its address.

    Attributes:
        message: what is wrong with the address.
        reason: what happened, for the log only: unlike the message, it may name internal hosts.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        self.message = message
        self.reason = reason
        super().__init__(f"The address cannot be fetched: {message}")


class UrlRefused(UrlError):
    """An address that may not be fetched: its form, its port, or where its host is."""


class UrlFailed(UrlError):
    """An address whose host did not give the whole of a file in time."""


class CallbackRefused(RequestError):
    """An address that may not be called when a task ends."""

    def __init__(self, message: str, reason: str = "") -> None:
        """`reason` is for the log only: it may name internal hosts."""
        self.reason = reason
        super().__init__(f"The callback_url cannot be used: {message}")


class ImageError(RequestError):
    """The picture cannot be used; the subclass and the message say why."""


class EmptyImage(ImageError):
    """No bytes at all."""

    def __init__(self) -> None:
        super().__init__("The picture is empty (0 bytes).")


class UnsupportedImage(ImageError):
    """Not a picture type that is read, judged by its first bytes and not by its name."""


class BrokenImage(ImageError):
    """Damaged, truncated, or not what its header says."""


class ImageTooLarge(ImageError):
    """More pixels than allowed, known from the header before anything is decoded."""

    def __init__(self, width: int, height: int, limit: int, bits: int | None = None) -> None:
        """`width`, `height` and `limit` in pixels; `bits` per pixel if they lower the limit."""
        self.width, self.height, self.limit = width, height, limit
        depth = f" of {bits} bits" if bits else ""
        super().__init__(
            f"The picture has {width}×{height} = {width * height / 1e6:.1f} million pixels{depth}; "
            f"the limit{' for those' if bits else ''} is {limit / 1e6:g} million. "
            f"Send {'8 bits a colour, ' if bits else ''}a smaller picture, "
            "or raise SIGHTLINE_MAX_PIXELS on the server."
        )


class TryLater(SightlineError):
    """A temporary refusal. Nothing was lost: try again.

    Attributes:
        reason: why it was refused.
        retry_after: estimated seconds until a retry is accepted, at least 1.
    """

    def __init__(self, reason: str, retry_after: int) -> None:
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(f"{reason} Try again in {retry_after} s.")


class Overloaded(TryLater):
    """The queue is full, or the wait would be too long. Nothing was lost: try again."""


class StorageUnavailable(TryLater):
    """Tasks cannot be kept or read now: the disk is full, the database locked or away."""


class UnreadablePicture(StorageUnavailable):
    """The disk does not give the bytes of one picture of a task, though it gives others."""


class RateLimited(TryLater):
    """This client has sent more requests than it may in a while."""


class TooManyAtOnce(TryLater):
    """This client has more requests under way than it may."""


class DeadlineExceeded(SightlineError):
    """The caller's deadline passed before the answer was there."""


class PoisonImage(SightlineError):
    """The process died twice while it worked on this picture and nothing else."""


class DetectorClosed(SightlineError):
    """The detector was closed, or its worker died; no further picture is accepted."""


class WorkerDied(DetectorClosed):
    """The thread that runs the engine died. What killed it is in the log."""

    def __init__(self) -> None:
        super().__init__(
            "The inference worker died; its log has the traceback. A service starts another by "
            "itself: send the picture again. A program has to open the detector again."
        )


class InferenceError(SightlineError):
    """The engine failed or returned outputs that do not belong to its inputs: a bug, report it."""
