"""Inference in this process, from a picture's bytes to its answer."""

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

_QUEUE_SHARE = 0.8  # of the longest wait; the rest is for reading requests, and answering


@dataclass(frozen=True, slots=True)
class _Queued:
    """A queued picture, and the lease on its detector."""

    detector: Detector
    future: Future[InferenceResult]
    lease: ExitStack

    def release(self) -> None:
        """Cancel the picture if it is not done, and give the lease back."""
        self.future.cancel()
        self.lease.close()


class LocalInference:
    """Detects with the models of a repository. See `protocols.Inference`."""

    def __init__(self, repository: Repository, max_wait: float) -> None:
        """An inference on the models of `repository`, which is open.

        Args:
            repository: the models.
            max_wait: most seconds that a request waits for the engine, or for a refusal.
        """
        self._repository = repository
        self._max_wait = _QUEUE_SHARE * max_wait
        self._throttle = RefusalThrottle(self._max_wait)
        self._threads = REQUESTS.pool()

    def close(self) -> None:
        """End the threads, without waiting for them."""
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
            image.close()  # the queue has its bytes now
            detector = queued.detector
            result = await asyncio.wrap_future(queued.future)
            if request.drawn:
                drawing = detector.run_on_pool(partial(annotate, result))
                return _reply(await asyncio.wrap_future(drawing), "image/jpeg", detector)
            return _reply(_to_json(detector, result), "application/json", detector)
        finally:
            queued.release()

    async def _begin(self, queue: Callable[[], _Queued]) -> _Queued:
        """Run `queue` on a thread; releases what it returns if this is cancelled meanwhile."""
        queued = self._threads.submit(queue)
        try:
            return await asyncio.wrap_future(queued)
        except asyncio.CancelledError:
            queued.add_done_callback(_release)
            raise

    def _queue(self, request: DetectRequest, image: EncodedImage) -> _Queued:
        """Queue a picture. Not for the event loop: it may load a model, and parses a header."""
        with ExitStack() as lease:
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
    """What `detector` really runs on."""
    return DeviceInfo(detector.device, detector.engine, detector.precision)


def _release(queued: Future[_Queued]) -> None:
    if not queued.cancelled() and queued.exception() is None:
        queued.result().release()


def _reply(body: bytes, media_type: str, detector: Detector) -> DetectReply:
    return DetectReply(body, media_type, detector.spec.name, detector.digest, device_of(detector))


def _to_json(detector: Detector, result: InferenceResult) -> bytes:
    answer = to_answer(detector, result)
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
