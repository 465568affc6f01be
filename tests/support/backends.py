"""What answers behind the HTTP API, open, without HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sightline import Detector
from sightline.backend.base import Backend
from sightline.backend.messages import (
    BackendStatus,
    ClientRequest,
    DetectReply,
    DetectRequest,
    Done,
    Empty,
    LoadRequest,
    ModelInfo,
    RemoveRequest,
    RoomRequest,
)
from sightline.backend.operations import (
    ADMIT,
    COUNT,
    DETECT,
    LOAD_MODEL,
    REMOVE_MODEL,
    REQUIRE_ROOM,
    STATUS,
    WAKE_DEFAULT,
)
from sightline.backend.remote import RemoteBackend
from sightline.backend.rpc_server import RpcServer
from sightline.serving.repository import Repository
from sightline.settings import Settings, load_settings
from sightline.wiring.runtime import open_runtime
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
        loaded = self.repository.slots()[0].loaded
        assert loaded is not None
        return loaded.detector

    @property
    def engine(self) -> Any:
        return self.detector._engine

    @property
    def waiting(self) -> int:
        """Pictures that are queued, or decoded and not begun."""
        pipeline = self.detector._pipeline
        return len(pipeline._lanes) + pipeline._capacity - pipeline._room

    async def detect(self, data: bytes | Sent = GOOD, **asked: Any) -> DetectReply:
        sent = Sent(data) if isinstance(data, bytes) else data
        return await self.backend.call(DETECT, DetectRequest(**asked), sent)

    async def require_room(self, model: str | None) -> None:
        await self.backend.call(REQUIRE_ROOM, RoomRequest(model))

    async def status(self) -> BackendStatus:
        return await self.backend.call(STATUS, Empty())

    async def wake_default(self) -> None:
        await self.backend.call(WAKE_DEFAULT, Empty())

    async def load(self, name: str, source: str) -> ModelInfo:
        return await self.backend.call(LOAD_MODEL, LoadRequest(name, source))

    async def remove(self, name: str) -> None:
        await self.backend.call(REMOVE_MODEL, RemoveRequest(name))

    async def count(self, client: str) -> None:
        await self.backend.call(COUNT, ClientRequest(client))

    async def admit(self, client: str) -> AsyncGenerator[Done]:
        """The place that `client` has: it is given back when this is closed."""
        place = self.backend.stream(ADMIT, ClientRequest(client))
        await anext(place)
        return place


@asynccontextmanager
async def local(folder: Path, **options: Any) -> AsyncIterator[Bench]:
    """The backend that does the work."""
    settings = load_settings(engine="fake", data_dir=folder, **(UNHURRIED | options))
    async with open_runtime(settings) as runtime:
        assert runtime.repository is not None
        yield Bench(runtime.backend, runtime.repository, settings)


@asynccontextmanager
async def rpc_server(path: Path, bench: Bench) -> AsyncIterator[RpcServer]:
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
    """`bench` as a front end sees it that is connected to the RPC server at `path`."""
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
            async with rpc_server(path, bench), remote(path, bench) as seen:
                yield seen
