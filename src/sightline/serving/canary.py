"""Canary: sends a known picture through each loaded model at intervals, and compares the answers.

The picture takes the usual path (lane, decoder, engine). If a model no longer finds what it found
when it was loaded, the service becomes not ready.
"""

from __future__ import annotations

import logging
from concurrent.futures import CancelledError
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import Overloaded, SightlineError
from sightline.threads import CANARY
from sightline.vision.boxes import iou

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from sightline.serving.job import InferenceResult
    from sightline.serving.model_slot import LoadedModel
    from sightline.serving.repository import Repository
    from sightline.types import Detections

_log = logging.getLogger("sightline")

_CONFIDENCE = 0.05  # low, so that models trained for other scenes find something too
_MOST = 20
_ANSWER_TIMEOUT = 60.0  # seconds until a missing answer is a fault


class Canary:
    """Checks each loaded model of a repository every `interval` seconds, on its own thread."""

    def __init__(
        self,
        repository: Repository,
        picture: bytes,
        truths: Mapping[str, Detections],
        interval: float,
    ) -> None:
        """A canary that checks nothing before `start`.

        Args:
            repository: the models.
            picture: the compressed picture that is sent each time.
            truths: digest → the true objects, for models that were trained for them.
            interval: seconds between rounds.
        """
        self._repository = repository
        self._picture = picture
        self._truths = truths
        self._interval = interval
        self._stop = Event()
        self._asked: Future[InferenceResult] | None = None
        # The first answer of each model, by digest: the later ones are compared with it.
        self._first: dict[str, Detections] = {}
        self._thread = CANARY.make(self._run)

    def start(self) -> None:
        """Run one round, to get the first answers, and start the thread."""
        self.check()
        self._thread.start()

    def wake(self) -> None:
        """Does nothing: new tasks do not change the interval."""

    def unhealthy_reasons(self) -> list[str]:
        """Always empty: faults that it finds are reported by `Repository`."""
        return []

    def close(self) -> None:
        """End the thread, without waiting for an answer."""
        self._stop.set()
        if self._asked is not None:
            self._asked.cancel()
        self._thread.join()

    def check(self) -> None:
        """Check all loaded models once."""
        for slot in self._repository.slots():
            loaded = slot.loaded
            if self._stop.is_set():
                return
            if loaded is not None and loaded.detector.alive:
                self._check_model(loaded)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self.check()

    def _check_model(self, loaded: LoadedModel) -> None:
        detector = loaded.detector
        try:
            future = detector.submit(
                self._picture, confidence=_CONFIDENCE, max_detections=_MOST, lane="batch"
            )
            self._asked = future
            if self._stop.is_set():
                future.cancel()
            answer = future.result(_ANSWER_TIMEOUT).detections
        except (Overloaded, CancelledError):
            return  # busy or closing, which is no fault
        except TimeoutError:
            future.cancel()  # frees its place in the queue
            loaded.fault = f"its canary got no answer within {_ANSWER_TIMEOUT:g} s"
            return
        except SightlineError as error:
            if detector.alive:
                loaded.fault = f"its canary failed: {error}"
            return
        first = self._first.setdefault(detector.digest, answer)
        fault = difference(first, answer)
        if detector.digest in self._truths:
            fault = fault or missing(self._truths[detector.digest], answer)
        if fault and not loaded.fault:
            _log.error("%s changed its mind: %s", detector.spec.name, fault)
        loaded.fault = fault


def difference(first: Detections, now: Detections) -> str | None:
    """The first disagreement of `now` with `first`, in words; None if they agree.

    They agree if `now` has each object of `first` with a confidence of at least 0.15: the same
    class, the same place (IoU of at least 0.7, or corners within a hundredth of the picture), and
    a confidence within 0.1. These tolerances cover the effects of batch size and thread count.
    """
    clear = [found for found in first if found.confidence >= 3 * _CONFIDENCE]
    if clear and not len(now):
        return f"it sees nothing where it saw {len(clear)} objects when it was loaded"
    for wanted in clear:
        bbox = np.array(wanted.bbox)
        # The IoU of very thin boxes is low even after a tiny move: compare corners too.
        moved = np.abs(now.boxes - bbox).max(axis=1, initial=0)
        matches = (
            ((iou(bbox, now.boxes) >= 0.7) | (moved <= 0.01 * max(first.width, first.height)))
            & (now.class_id == wanted.class_id)
            & (np.abs(now.confidence - wanted.confidence) <= 0.1)
        )
        if not matches.any():
            return f"it no longer sees the {wanted.label} that it saw when it was loaded"
    return None


def missing(truth: Detections, answer: Detections) -> str | None:
    """The first object of `truth` that is not in `answer`, in words; None if all are.

    An object is found by its class, an IoU of at least 0.5, and a confidence of at least 0.3.
    """
    for wanted in truth:
        matches = (
            (iou(np.array(wanted.bbox), answer.boxes) >= 0.5)
            & (answer.class_id == wanted.class_id)
            & (answer.confidence >= 0.3)
        )
        if not matches.any():
            return f"it does not see the {wanted.label} of the known scene"
    return None
