"""Inference in this process: from a picture's bytes to its answer."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from sightline.backend.messages import DetectReply, DetectRequest, DeviceInfo, Done, RoomRequest
from sightline.backend.throttle import RefusalThrottle
from sightline.errors import Overloaded
from sightline.serving.answer import annotate, to_answer
from sightline.threads import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from sightline.backend.protocols import EncodedImage
    from sightline.serving.detector import Detector
    from sightline.serving.job import InferenceResult
    from sightline.serving.repository import Repository

_WAITING = 0.8  # of the time promised; the rest is for reading a crowd's requests, and answering


@dataclass(frozen=True, slots=True)
class _Queued:
    """A picture that is queued, and the lease on the detector that works on it."""

    detector: Detector
    future: Future[InferenceResult]
    lease: ExitStack

    def release(self) -> None:
        """Nobody waits for it any more, or it is done."""
        self.future.cancel()
        self.lease.close()


class LocalInference:
    """Detects with the models of a repository. See `protocols.Inference`."""

    def __init__(self, repository: Repository, max_wait: float) -> None:
        """For a repository that is open.

        Args:
            repository: the models.
            max_wait: seconds; nobody is to wait longer for the engine, or for a refusal.
        """
        self._repository = repository
        self._max_wait = _WAITING * max_wait
        self._throttle = RefusalThrottle(self._max_wait)
        self._threads = REQUESTS.pool()

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False)

    async def require_room(self, request: RoomRequest) -> Done:
        try:
            self._repository.require_room(request.model, self._max_wait)
        except Overloaded as refusal:
            held = self._throttle.delay()
            await asyncio.sleep(held)
            left = max(1, ceil(refusal.retry_after - held))
            raise Overloaded(refusal.reason, left) from None
        return Done()

    async def detect(self, request: DetectRequest, image: EncodedImage) -> DetectReply:
        queued = await self._begin(partial(self._queue, request, image))
        try:
            image.close()  # the queue has it now
            detector = queued.detector
            result = await asyncio.wrap_future(queued.future)
            if request.drawn:
                drawing = detector.run_on_pool(partial(annotate, result))
                return _reply(await asyncio.wrap_future(drawing), "image/jpeg", detector)
            return _reply(_to_json(detector, result), "application/json", detector)
        finally:
            queued.release()

    async def _begin(self, queue: Callable[[], _Queued]) -> _Queued:
        """What `queue` gives, on a thread; released if nobody waits for it any more."""
        queued = self._threads.submit(queue)
        try:
            return await asyncio.wrap_future(queued)
        except asyncio.CancelledError:
            queued.add_done_callback(_release)
            raise

    def _queue(self, request: DetectRequest, image: EncodedImage) -> _Queued:
        """Reading a header is quick, but not whatever a header may hold: not for the event loop."""
        with ExitStack() as lease:
            # It may have to be loaded.
            detector = lease.enter_context(self._repository.lease(request.model))
            future = detector.submit(
                image.load(),
                confidence=request.confidence,
                iou=request.iou,
                classes=request.classes,
                max_detections=request.max_detections,
                lane=request.lane,
                max_wait=self._max_wait,
                keep_image=request.drawn,
            )
            return _Queued(detector, future, lease.pop_all())


def device_of(detector: Detector) -> DeviceInfo:
    """What it really runs on."""
    return DeviceInfo(detector.device, detector.engine, detector.precision)


def _release(queued: Future[_Queued]) -> None:
    if not queued.cancelled() and queued.exception() is None:
        queued.result().release()


def _reply(body: bytes, media_type: str, detector: Detector) -> DetectReply:
    return DetectReply(body, media_type, detector.spec.name, detector.digest, device_of(detector))


def _to_json(detector: Detector, result: InferenceResult) -> bytes:
    answer = to_answer(detector, result)
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
