"""The models, their queue and the limits, in this process."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Self

import anyio.to_thread

from sightline.api.headers import answer_headers, device_header
from sightline.api.schemas.detect import Load
from sightline.api.schemas.models import ModelOut
from sightline.backend.limits import nothing
from sightline.backend.protocols import BackendStatus, DetectReply
from sightline.backend.throttle import RefusalThrottle
from sightline.engines.devices import gpu_available
from sightline.errors import Overloaded
from sightline.serving.answer import to_answer
from sightline.telemetry.gpu import gpu_usage
from sightline.threads import REQUESTS
from sightline.vision.draw import draw_detections, encode_jpeg

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from sightline.api.schemas.detect import DetectQuery
    from sightline.backend.limits import ClientLimits
    from sightline.backend.protocols import EncodedImage
    from sightline.serving.canary import Canary
    from sightline.serving.detector import Detector
    from sightline.serving.job import InferenceResult, LaneName
    from sightline.serving.model_slot import ModelSlot
    from sightline.serving.repository import Repository
    from sightline.tasks.processing import TaskProcessing
    from sightline.telemetry.meter import Meter

_WAITING = 0.8  # of the time promised; the rest is for reading a crowd's requests, and answering


@dataclass(frozen=True, slots=True)
class _Turn:
    """A picture that is queued, and the lease on the detector that works on it."""

    detector: Detector
    future: Future[InferenceResult]
    lease: ExitStack

    def end(self) -> None:
        """Nobody waits for it any more, or it is done."""
        self.future.cancel()
        self.lease.close()


class LocalBackend:
    """The one that does the work. See `Backend` for what its methods promise."""

    def __init__(
        self,
        open_repository: Callable[[], Repository],
        open_canary: Callable[[Repository], Canary],
        check_source: Callable[[str], None],
        limits: ClientLimits,
        max_wait: float,
        meter: Meter,
        open_processing: Callable[[Repository], TaskProcessing] | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            open_repository: called on entering; the repository is closed on leaving.
            open_canary: called then too; closed first.
            check_source: raises if a source may not be loaded over HTTP.
            limits: on one client.
            max_wait: seconds; nobody is to wait longer for the engine, or for a refusal.
            meter: counts what the models answer.
            open_processing: called last, and closed first; None if tasks are not worked on here.
        """
        self._open_repository = open_repository
        self._open_canary = open_canary
        self._check_source = check_source
        self._limits = limits
        self._max_wait = _WAITING * max_wait
        self._meter = meter
        self._open_processing = open_processing
        self._processing: TaskProcessing | None = None
        self._throttle = RefusalThrottle(self._max_wait)
        self._repository: Repository
        self._canary: Canary

    async def __aenter__(self) -> Self:
        self._threads = REQUESTS.pool()
        self._gpu_available = await anyio.to_thread.run_sync(gpu_available)
        self._repository = await anyio.to_thread.run_sync(self._open_repository)
        self._canary = await anyio.to_thread.run_sync(self._open_canary, self._repository)
        if self._open_processing is not None:
            self._processing = await anyio.to_thread.run_sync(
                self._open_processing, self._repository
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._processing is not None:
            await anyio.to_thread.run_sync(self._processing.close)
        await anyio.to_thread.run_sync(self._canary.close)
        await anyio.to_thread.run_sync(self._repository.close)
        self._threads.shutdown(wait=False)

    @property
    def device(self) -> str | None:
        loaded = self._repository.slots()[0].loaded
        return None if loaded is None else device_header(loaded.detector)

    @property
    def hung(self) -> list[str]:
        return self._repository.hung()

    async def require_room(self, model: str | None) -> None:
        try:
            self._repository.require_room(model, self._max_wait)
        except Overloaded as refusal:
            held = self._throttle.delay()
            await asyncio.sleep(held)
            left = max(1, ceil(refusal.retry_after - held))
            raise Overloaded(refusal.reason, left) from None

    async def detect(
        self,
        picture: EncodedImage,
        query: DetectQuery,
        *,
        drawn: bool = False,
        lane: LaneName = "interactive",
    ) -> DetectReply:
        turn = await self._begin(partial(self._queue, picture, query, drawn, lane))
        try:
            picture.close()  # the queue has it now
            result = await asyncio.wrap_future(turn.future)
            headers = answer_headers(turn.detector)
            if drawn:
                jpeg = turn.detector.run_on_pool(partial(_annotate, result))
                return DetectReply(await asyncio.wrap_future(jpeg), "image/jpeg", headers)
            return DetectReply(_to_json(turn.detector, result), "application/json", headers)
        finally:
            turn.end()

    async def status(self, *, wake: bool = False) -> BackendStatus:
        if wake:
            await anyio.to_thread.run_sync(self._wake)
        processing = self._processing
        return BackendStatus(
            models=[describe(slot, self._repository) for slot in self._repository.slots()],
            unhealthy_reasons=self._repository.unhealthy_reasons()
            + (processing.unhealthy_reasons() if processing else []),
            notice=self._repository.notice,
            gpu_available=self._gpu_available,
            load=await self._load(),
        )

    async def _load(self) -> Load:
        read, loaded = self._meter.read(), [one.loaded for one in self._repository.slots()]
        gpu = await anyio.to_thread.run_sync(gpu_usage) if self._gpu_available else None
        latency = read.latency_ms
        return Load(
            avg_latency_ms=None if latency is None else round(latency, 2),
            current_fps=round(read.rate, 1),
            queue_depth=sum(one.detector.waiting for one in loaded if one is not None),
            images_total=read.images,
            failed_total=read.failed,
            gpu_usage_percent=gpu.percent if gpu else None,
            gpu_memory_used_mb=round(gpu.memory_mb, 1) if gpu else None,
        )

    async def load(self, name: str, source: str) -> ModelOut:
        self._check_source(source)
        slot = await anyio.to_thread.run_sync(self._repository.load, name, source)
        return describe(slot, self._repository)

    async def remove(self, name: str) -> None:
        await anyio.to_thread.run_sync(self._repository.remove, name)

    async def admit(self, client: str, *, place: bool) -> Callable[[], None]:
        self._limits.count(client)
        return self._limits.take(client) if place else nothing

    async def wake(self) -> None:
        if self._processing is not None:
            self._processing.wake()

    async def _begin(self, queue: Callable[[], _Turn]) -> _Turn:
        """What `queue` gives, on a thread; ended if nobody waits for it any more."""
        queued = self._threads.submit(queue)
        try:
            return await asyncio.wrap_future(queued)
        except asyncio.CancelledError:
            queued.add_done_callback(_end)
            raise

    def _queue(
        self, picture: EncodedImage, query: DetectQuery, drawn: bool, lane: LaneName
    ) -> _Turn:
        """Reading a header is quick, but not whatever a header may hold: not for the event loop."""
        with ExitStack() as lease:
            # It may have to be loaded.
            detector = lease.enter_context(self._repository.lease(query.model))
            future = detector.submit(
                picture.load(),
                confidence=query.confidence,
                iou=query.iou,
                classes=query.class_names(),
                max_detections=query.max_detections,
                lane=lane,
                max_wait=self._max_wait,
                keep_image=drawn,
            )
            return _Turn(detector, future, lease.pop_all())

    def _wake(self) -> None:
        with self._repository.lease():
            pass


def _end(queued: Future[_Turn]) -> None:
    if not queued.cancelled() and queued.exception() is None:
        queued.result().end()


def describe(slot: ModelSlot, repository: Repository) -> ModelOut:
    """A model, and what it runs on while it is loaded."""
    described = ModelOut(name=slot.name, default=slot.name == repository.default, loaded=False)
    loaded = slot.loaded
    if loaded is not None:
        detector = loaded.detector
        described.loaded = True
        described.digest = detector.digest
        described.family = detector.spec.family
        described.labels = list(detector.spec.labels)
        described.input_size = detector.spec.input_size
        described.device = detector.device
        described.engine = detector.engine
        described.precision = detector.precision
    return described


def _annotate(result: InferenceResult) -> bytes:
    if result.image is None:
        raise RuntimeError("the detector was not asked to keep the picture")
    return encode_jpeg(draw_detections(result.image, result.detections))


def _to_json(detector: Detector, result: InferenceResult) -> bytes:
    answer = to_answer(detector, result)
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
