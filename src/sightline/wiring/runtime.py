"""Opens and closes the runtime of a service."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync as in_thread

from sightline.backend.inference import LocalInference
from sightline.backend.limits import ClientLimits
from sightline.backend.local import LocalBackend
from sightline.backend.messages import LoadFigures
from sightline.backend.models import LocalModels, LocalStatus
from sightline.backend.operations import Handlers
from sightline.backend.remote import RemoteBackend
from sightline.backend.runtime import Runtime
from sightline.engines.devices import gpu_available
from sightline.serving.events import Events, InferenceFinished
from sightline.telemetry.gpu import gpu_usage
from sightline.telemetry.meter import Meter
from sightline.wiring.models import check_source, open_canary, open_repository
from sightline.wiring.network import open_fetcher
from sightline.wiring.tasks import open_processing, open_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sightline.backend.protocols import Background
    from sightline.net.connect import Resolve
    from sightline.serving.repository import Repository
    from sightline.settings import Settings


@asynccontextmanager
async def open_runtime(
    settings: Settings, notice: str | None = None, resolve: Resolve = socket.getaddrinfo
) -> AsyncIterator[Runtime]:
    """The whole runtime of a service in this process: models, tasks and background work.

    Args:
        settings: of the service.
        notice: what `find_model` returned, if it was called already.
        resolve: resolves the hosts of pictures that clients name by address.

    Raises:
        ConfigError: a setting is invalid, or the default model cannot be loaded.
        StorageUnavailable: the database of tasks cannot be opened now.
    """
    limits = ClientLimits(settings)
    fetch = open_fetcher(settings, resolve).fetch
    events, meter = Events(), Meter()
    events.subscribe(InferenceFinished, lambda event: meter.note(event.timing))
    async with AsyncExitStack() as stack:
        loading = asyncio.ensure_future(in_thread(open_repository, settings, notice, events))
        stack.push_async_callback(_close_loaded, loading)
        tasks = await in_thread(open_tasks, settings)  # while the model is being loaded
        stack.push_async_callback(in_thread, tasks.close)
        repository = await loading
        background: list[Background] = [
            open_canary(settings, repository),
            open_processing(settings, repository, tasks),
        ]
        inference = LocalInference(repository, settings.max_wait)
        stack.callback(inference.close)
        models = LocalModels(repository, partial(check_source, settings))
        gpu = await in_thread(gpu_available)
        figures = partial(_figures, meter, repository, gpu=gpu)
        status = LocalStatus(repository, background, figures, gpu_available=gpu)
        for work in background:
            await _start(work, stack)
        handlers = Handlers(inference, models, limits, status)
        backend = LocalBackend(handlers, lambda: status.device, repository.hung)
        yield Runtime(settings, backend, tasks, fetch, repository)


@asynccontextmanager
async def open_front_runtime(settings: Settings, engine: Path) -> AsyncIterator[Runtime]:
    """The runtime of a front end, whose backend is the engine process at the socket `engine`.

    Raises:
        ConfigError: a setting is invalid.
        StorageUnavailable: the database of tasks cannot be opened now.
    """
    fetch = open_fetcher(settings).fetch
    async with AsyncExitStack() as stack:
        tasks = await in_thread(open_tasks, settings)
        stack.push_async_callback(in_thread, tasks.close)
        backend = await stack.enter_async_context(RemoteBackend(engine, settings))
        yield Runtime(settings, backend, tasks, fetch)


async def _start(work: Background, stack: AsyncExitStack) -> None:
    await in_thread(work.start)
    stack.push_async_callback(in_thread, work.close)


async def _close_loaded(loading: asyncio.Future[Repository]) -> None:
    """Close the repository, even if something else failed before it was loaded."""
    await asyncio.wait({loading})
    if not loading.cancelled() and loading.exception() is None:
        await in_thread(loading.result().close)


def _figures(meter: Meter, repository: Repository, *, gpu: bool) -> LoadFigures:
    read, usage = meter.read(), gpu_usage() if gpu else None
    loaded = [slot.loaded for slot in repository.slots() if slot.loaded is not None]
    latency = read.latency_ms
    return LoadFigures(
        avg_latency_ms=None if latency is None else round(latency, 2),
        current_fps=round(read.rate, 1),
        queue_depth=sum(one.detector.waiting for one in loaded),
        images_total=read.images,
        failed_total=read.failed,
        gpu_usage_percent=usage.percent if usage else None,
        gpu_memory_used_mb=round(usage.memory_mb, 1) if usage else None,
    )
