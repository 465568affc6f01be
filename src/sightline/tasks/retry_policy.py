"""Retry policy: whether an image whose processing failed ends or is tried again."""

from __future__ import annotations

import logging

from sightline import errors
from sightline.errors import (
    ConfigError,
    DetectorClosed,
    Overloaded,
    RequestError,
    SightlineError,
    StorageUnavailable,
    TryLater,
    UnreadablePicture,
    UrlFailed,
)
from sightline.tasks.task import LONGEST_PAUSE, Claim, Failure, Outcome

ATTEMPTS = 5

_FIRST_PAUSE = 1.0  # seconds
_SHORT_PAUSE = 1.0  # seconds, if the service was not ready
_log = logging.getLogger("sightline")


def decide(claim: Claim, error: BaseException) -> Outcome:
    """The outcome of a claim that failed with `error`.

    An error of the image or its options ends it at once. While the service is not ready (full
    queue, engine restart, full disk) the image is tried again without limit. Any other error, such
    as a picture that cannot be read from a working disk, is tried five times in all, with pauses
    that double.
    """
    failure = _explain(claim, error)
    if isinstance(error, RequestError) and not isinstance(error, UrlFailed):
        return Outcome(claim, failure=failure)
    if isinstance(error, StorageUnavailable) and not isinstance(error, UnreadablePicture):
        pause = min(LONGEST_PAUSE, error.retry_after)
        return Outcome(claim, failure=failure, retry_in=pause, counts=False)
    if isinstance(error, Overloaded | DetectorClosed):
        return Outcome(claim, failure=failure, retry_in=_SHORT_PAUSE, counts=False)
    if claim.attempts + 1 >= ATTEMPTS:
        return Outcome(claim, failure=failure)
    pause = min(LONGEST_PAUSE, _FIRST_PAUSE * 2**claim.attempts)
    return Outcome(claim, failure=failure, retry_in=pause)


def _explain(claim: Claim, error: BaseException) -> Failure:
    if isinstance(error, SightlineError):
        if isinstance(error, ConfigError):
            _log.error("image %d of task %s: %s", claim.index, claim.task_id, error)
        known = (cls.__name__ for cls in type(error).__mro__ if hasattr(errors, cls.__name__))
        # Clients do not retry an image, the worker does: leave `retry_after` out of the text.
        return Failure(next(known), error.reason if isinstance(error, TryLater) else str(error))
    _log.error("image %d of task %s failed", claim.index, claim.task_id, exc_info=error)
    return Failure("SightlineError", "Something failed inside; the service's log says what.")
