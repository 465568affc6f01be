"""What answers behind the HTTP API, open, without HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sightline import Detector
from sightline.api.schemas.detect import DetectQuery
from sightline.backend.protocols import Backend
from sightline.backend.remote import RemoteBackend
from sightline.backend.rpc_server import RpcServer
from sightline.serving.repository import Repository
from sightline.settings import Settings, load_settings
from sightline.wiring import local_backend, open_repository
from support import pictures
from support.servers import UNHURRIED

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
HELD = 2**20


class Sent:
    """A picture that knows whether it was closed."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.closed = False

    def load(self) -> bytes:
        return self.data

    def close(self) -> None:
        self.closed = True


@dataclass
class Bench:
    """An open backend, and what is behind it."""

    backend: Backend
    repository: Repository
    settings: Settings

    @property
    def detector(self) -> Detector:
        served = self.repository.slots()[0].loaded
        assert served is not None
        return served.detector

    @property
    def engine(self) -> Any:
        return self.detector._engine

    @property
    def waiting(self) -> int:
        """Pictures that are queued, or decoded and not begun."""
        pipeline = self.detector._pipeline
        return len(pipeline._lanes) + pipeline._capacity - pipeline._room

    async def detect(self, data: bytes = GOOD, *, drawn: bool = False, **asked: Any) -> Any:
        return await self.backend.detect(Sent(data), DetectQuery(**asked), drawn=drawn)


@asynccontextmanager
async def local(folder: Path, **options: Any) -> AsyncIterator[Bench]:
    """The backend that does the work."""
    settings = load_settings(engine="fake", data_dir=folder, **(UNHURRIED | options))
    repository = open_repository(settings)
    async with local_backend(settings, lambda: repository) as backend:
        yield Bench(backend, repository, settings)


@asynccontextmanager
async def hub(path: Path, bench: Bench) -> AsyncIterator[RpcServer]:
    """The engine process's side of the socket at `path`, in this process."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        served = RpcServer(bench.backend, bench.settings.max_upload_bytes, HELD)
        accepting = asyncio.create_task(served.accept(listener))
        try:
            yield served
        finally:
            accepting.cancel()
            await served.drain(0)


@asynccontextmanager
async def remote(path: Path, bench: Bench) -> AsyncIterator[Bench]:
    """`bench` as a front end sees it that is connected to the hub at `path`."""
    async with RemoteBackend(path, bench.settings) as backend:
        await backend.connected()
        yield Bench(backend, bench.repository, bench.settings)


@asynccontextmanager
async def opened(kind: str, folder: Path, **options: Any) -> AsyncIterator[Bench]:
    """A backend of either kind."""
    path = folder / "engine"
    async with local(folder, **options) as bench:
        if kind == "local":
            yield bench
        else:
            async with hub(path, bench), remote(path, bench) as seen:
                yield seen
