"""Handlers for models and for status, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from sightline.backend.inference import device_of
from sightline.backend.messages import BackendStatus, DeviceInfo, Done, Empty, ModelInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sightline.backend.messages import LoadFigures, LoadRequest, RemoveRequest
    from sightline.backend.protocols import Background
    from sightline.serving.model_slot import ModelSlot
    from sightline.serving.repository import Repository


class LocalModels:
    """Loads and unloads the models of a repository. See `protocols.Models`."""

    def __init__(self, repository: Repository, check_source: Callable[[str], None]) -> None:
        """`check_source` raises if a source may not be loaded over HTTP."""
        self._repository = repository
        self._check_source = check_source

    async def load(self, request: LoadRequest) -> ModelInfo:
        self._check_source(request.source)
        slot = await anyio.to_thread.run_sync(self._repository.load, request.name, request.source)
        return describe(slot, self._repository)

    async def remove(self, request: RemoveRequest) -> Done:
        await anyio.to_thread.run_sync(self._repository.remove, request.name)
        return Done()


class LocalStatus:
    """Reports the status of models and background work. See `protocols.Status`."""

    def __init__(
        self,
        repository: Repository,
        background: Sequence[Background],
        figures: Callable[[], LoadFigures],
        *,
        gpu_available: bool,
    ) -> None:
        """A reporter of the status.

        Args:
            repository: the models.
            background: work whose health is reported, and which `wake_tasks` wakes.
            figures: reads the load; may call the GPU's driver.
            gpu_available: whether this machine has a usable GPU.
        """
        self._repository = repository
        self._background = background
        self._figures = figures
        self._gpu_available = gpu_available

    @property
    def device(self) -> DeviceInfo | None:
        """What the default model runs on; None while it is not loaded."""
        loaded = self._repository.slots()[0].loaded
        return None if loaded is None else device_of(loaded.detector)

    async def status(self, _: Empty) -> BackendStatus:
        repository = self._repository
        reasons = repository.unhealthy_reasons()
        for work in self._background:
            reasons += work.unhealthy_reasons()
        return BackendStatus(
            models=[describe(slot, repository) for slot in repository.slots()],
            unhealthy_reasons=reasons,
            notice=repository.notice,
            gpu_available=self._gpu_available,
            load=await self._read_figures(),
        )

    async def wake_default(self, _: Empty) -> Done:
        await anyio.to_thread.run_sync(self._lease_default)
        return Done()

    async def wake_tasks(self, _: Empty) -> Done:
        for work in self._background:
            work.wake()
        return Done()

    async def _read_figures(self) -> LoadFigures:
        if self._gpu_available:
            return await anyio.to_thread.run_sync(self._figures)
        return self._figures()

    def _lease_default(self) -> None:
        with self._repository.lease():
            pass


def describe(slot: ModelSlot, repository: Repository) -> ModelInfo:
    """The description of a model, and of what it runs on if it is loaded."""
    default = slot.name == repository.default
    if slot.loaded is None:
        return ModelInfo(slot.name, default, loaded=False)
    detector = slot.loaded.detector
    return ModelInfo(
        slot.name,
        default,
        loaded=True,
        digest=detector.digest,
        family=detector.spec.family,
        labels=list(detector.spec.labels),
        input_size=detector.spec.input_size,
        device=detector.device,
        engine=detector.engine,
        precision=detector.precision,
    )
