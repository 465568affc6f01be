"""A canary: each loaded model answers a known picture from time to time.

It goes the way of every picture (lane, decoder, engine). A network that no longer sees what it saw
when it was loaded turns the service not ready, before users find out.
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

_CONFIDENCE = 0.05  # low, so that a model shows something of a scene it was not trained for
_MOST = 20
_ANSWER_TIMEOUT = 60.0  # seconds that its answer may take


class Canary:
    """Asks each model in a repository, every `interval` seconds, on a thread of its own."""

    def __init__(
        self,
        repository: Repository,
        picture: bytes,
        truths: Mapping[str, Detections],
        interval: float,
    ) -> None:
        """Nothing is asked before `start`.

        Args:
            repository: whose loaded models are asked.
            picture: a compressed picture, always the same.
            truths: what is really in it, for the models that know its objects, by their digest.
            interval: seconds between rounds.
        """
        self._repository = repository
        self._picture = picture
        self._truths = truths
        self._interval = interval
        self._stop = Event()
        self._asked: Future[InferenceResult] | None = None
        # A model's own first answer is what it is held to, by its weights' digest.
        self._first: dict[str, Detections] = {}
        self._thread = CANARY.make(self._run)

    def start(self) -> None:
        """Ask once, to have first answers, and start the thread."""
        self.check()
        self._thread.start()

    def wake(self) -> None:
        """Tasks that come are nothing to it: it keeps its interval."""

    def unhealthy_reasons(self) -> list[str]:
        """None of its own: what it finds is a fault of the model, and `Repository` tells it."""
        return []

    def close(self) -> None:
        """End the thread, and do not wait for an answer."""
        self._stop.set()
        if self._asked is not None:
            self._asked.cancel()
        self._thread.join()

    def check(self) -> None:
        """One round over all loaded models."""
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
            return  # too busy for canaries is not blind; nor is one that is being closed
        except TimeoutError:
            future.cancel()  # its place in the queue is for others
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
    """What is wrong with `now`, or None if it agrees with `first`.

    They agree if each of the first's clearer objects (confidence 0.15 and more) is there again:
    same class, same place (IoU of at least 0.7, or corners within a hundredth of the picture),
    confidence within 0.1. That leaves room for another batch size or thread count, and none for
    a network that sees nothing or something else.
    """
    clear = [found for found in first if found.confidence >= 3 * _CONFIDENCE]
    if clear and not len(now):
        return f"it sees nothing where it saw {len(clear)} objects when it was loaded"
    for wanted in clear:
        bbox = np.array(wanted.bbox)
        # Very thin boxes hardly overlap with anything, and still lie where they lay.
        moved = np.abs(now.boxes - bbox).max(axis=1, initial=0)
        alike = (
            ((iou(bbox, now.boxes) >= 0.7) | (moved <= 0.01 * max(first.width, first.height)))
            & (now.class_id == wanted.class_id)
            & (np.abs(now.confidence - wanted.confidence) <= 0.1)
        )
        if not alike.any():
            return f"it no longer sees the {wanted.label} that it saw when it was loaded"
    return None


def missing(truth: Detections, answer: Detections) -> str | None:
    """What of `truth` is not in `answer` (class, IoU of at least 0.5, confidence 0.3), or None."""
    for wanted in truth:
        seen = (
            (iou(np.array(wanted.bbox), answer.boxes) >= 0.5)
            & (answer.class_id == wanted.class_id)
            & (answer.confidence >= 0.3)
        )
        if not seen.any():
            return f"it does not see the {wanted.label} of the known scene"
    return None
