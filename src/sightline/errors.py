"""Every error Sightline raises on purpose, in one tree.

The branch says who can put it right, the message says what was wrong and what to do:

    SightlineError
    ├── ConfigError              the operator: a setting, a device, a model file
    │   └── ModelError           … that cannot be found, read or understood
    │       └── ModelUnreachable     whoever offers it does not give it now
    ├── RequestError             the client: what was asked
    │   ├── MalformedBody        … the envelope is broken (multipart, headers)
    │   ├── BodyTooLarge         … more bytes than are allowed
    │   ├── BodyStalled          … the body stopped coming, or came too slowly
    │   ├── WrongFileCount       … no file, or more than one
    │   ├── BadOption            … an option out of its range, an unknown class or model
    │   ├── HostUnknown          … a name that this service does not answer to
    │   ├── KeyWrong             … a key that is missing or not the right one
    │   ├── NotAllowed           … something that nobody, or not this client, may do
    │   ├── UnknownTask          … a task that does not exist, or is another's
    │   ├── ExpiredTask          … a task whose results were kept for long enough
    │   ├── Conflict             … an Idempotency-Key that was used for something else
    │   ├── NotEnded             … to forget a task that has not ended
    │   ├── NotYet               … a picture whose turn has not come
    │   ├── UrlError             … the address of a picture
    │   │   ├── UrlRefused           it may not be fetched
    │   │   └── UrlFailed            it may, and its host did not give the picture
    │   ├── CallbackRefused      … an address that may not be called when a task ends
    │   └── ImageError           … the picture itself
    │       ├── EmptyImage           no bytes at all
    │       ├── UnsupportedImage     not a picture type that is read
    │       ├── BrokenImage          damaged, truncated, or not what its header says
    │       └── ImageTooLarge        more pixels than are allowed
    ├── TryLater                 nothing was lost: try again after `retry_after` seconds
    │   ├── Overloaded           … nobody's fault: too much waits
    │   ├── StorageUnavailable   … the operator: disk full, database locked or away
    │   │   └── UnreadablePicture    the disk does not give the bytes of one picture
    │   ├── RateLimited          … the client: more requests than it may send in a while
    │   └── TooManyAtOnce        … the client: more requests than it may have under way
    ├── DeadlineExceeded         nobody's fault: it took longer than the caller would wait
    ├── DetectorClosed           the program: used after close()
    │   └── WorkerDied           … or us: its worker died; a service opens it again by itself
    ├── PoisonImage              nobody knows: the process died each time it worked on this picture
    └── InferenceError           us: the engine failed, or answered nonsense

No HTTP in here: `api/problems.py` holds the one table from errors to statuses.
"""

from __future__ import annotations


class SightlineError(Exception):
    """Something failed inside. Base of every error that Sightline raises on purpose."""


class ConfigError(SightlineError):
    """The operator can fix it: an option, a device or an engine that is not there."""


class ModelError(ConfigError):
    """The operator can fix it: a model file that cannot be found, read or understood."""


class ModelUnreachable(ModelError):
    """Whoever offers the model does not give it now: no connection, no such host, a stall."""


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
    """The answer is not to be had in a form that the request accepts."""


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
    """A task that is to be forgotten has not ended: somebody retried it in this moment."""


class NotYet(RequestError):
    """What is asked of a picture is not there before its turn has come."""


class UrlError(RequestError):
    """A picture cannot be had from its address.

    Attributes:
        message: what is wrong with it, without the sentence that goes before.
        reason: what happened, for the log alone. The message follows from the address and from
            what a host that may be asked answered; the reason may name what lies inside.
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
        """`reason` is for the log alone: it may name what lies inside."""
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
        """A picture of `width` × `height`; `bits` a pixel if these are why `limit` is lower."""
        self.width, self.height, self.limit = width, height, limit
        depth = f" of {bits} bits" if bits else ""
        super().__init__(
            f"The picture has {width}×{height} = {width * height / 1e6:.1f} million pixels{depth}; "
            f"the limit{' for those' if bits else ''} is {limit / 1e6:g} million. "
            f"Send {'8 bits a colour, ' if bits else ''}a smaller picture, "
            "or raise SIGHTLINE_MAX_PIXELS on the server."
        )


class TryLater(SightlineError):
    """Not now. Nothing was lost: try again.

    Attributes:
        reason: why not.
        retry_after: seconds, at least 1, after which it will be accepted by today's estimate.
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
