"""Real servers on real sockets."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from uvicorn.loops.auto import auto_loop_factory

from sightline import Detector
from sightline.api.app import Service, create_app
from sightline.api.context import ApiContext
from sightline.api.server.config import DrainingServer, make_config
from sightline.net.connect import Resolve
from sightline.serving.repository import Repository
from sightline.settings import Settings, load_settings
from sightline.wiring.models import find_model
from sightline.wiring.runtime import open_runtime
from support import warm_start
from support.eventually import eventually

# On a machine that stalls: nothing is refused for its pace, nor cut, and no canary comes between.
UNHURRIED: dict[str, object] = {
    "max_wait": 60,
    "url_timeout": 60,
    "head_timeout": 60,
    "idle_timeout": 60,
    "canary_interval": 3600,
}


# To measure how many pictures a call takes best takes seconds at each start of a real model.
ONE_A_CALL = {"SIGHTLINE_MAX_BATCH": "1"}


@dataclass
class Live:
    """A server in a thread of this process, so that a test can reach its detector."""

    url: str
    port: int
    repository: Repository
    settings: Settings
    app: Service
    server: DrainingServer

    def stop(self) -> None:
        """Begin to stop, as a SIGTERM does."""
        self.server.should_exit = True

    @property
    def context(self) -> ApiContext:
        """What its requests share."""
        return self.app.context()

    @property
    def detector(self) -> Detector:
        """The default model's."""
        loaded = self.repository.slots()[0].loaded
        assert loaded is not None
        return loaded.detector


@contextmanager
def live(**options: object) -> Iterator[Live]:
    with live_resolving(socket.getaddrinfo, **options) as running:
        yield running


@contextmanager
def live_resolving(resolve: Resolve, **options: object) -> Iterator[Live]:
    """`live`, but that `resolve` looks up the hosts of pictures that are named by address."""
    with tempfile.TemporaryDirectory() as data:
        settings = load_settings(**({"engine": "fake", "data_dir": data} | UNHURRIED | options))
        yield from _live(settings, resolve)


class _Started(DrainingServer):
    """The server that ships, but that it says when it has started."""

    def __init__(self, config: Any, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


def _live(settings: Settings, resolve: Resolve) -> Iterator[Live]:
    settings, notice = find_model(settings)
    running: Future[Live] = Future()

    async def serve(listener: socket.socket) -> None:
        async with open_runtime(settings, notice, resolve) as runtime:
            assert runtime.repository is not None
            app = create_app(settings, lambda: nullcontext(runtime))
            port = listener.getsockname()[1]
            server = _Started(
                make_config(app, settings, app.upload_budget), lambda: running.set_result(seen)
            )
            url = f"http://127.0.0.1:{port}"
            seen = Live(url, port, runtime.repository, settings, app, server)
            await server.serve(sockets=[listener])

    def run() -> None:
        try:
            with (
                socket.socket() as listener,
                asyncio.Runner(loop_factory=auto_loop_factory()) as one,
            ):
                listener.bind(("127.0.0.1", 0))
                one.run(serve(listener))
        except BaseException as error:
            if running.done():
                raise
            running.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield running.result(60)
    finally:
        if running.done() and running.exception() is None:
            running.result().stop()
        thread.join(60)


@dataclass
class Process:
    """`sightline serve` as an operator starts it."""

    url: str
    process: warm_start.Started
    said: str

    def stop(self) -> tuple[int, str]:
        """SIGTERM, then its exit code and what it still said."""
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=60)
        return self.process.wait(), said


@contextmanager
def serve(
    arguments: Sequence[str] = (),
    module: str = "sightline",
    environment: Mapping[str, str] | None = None,
    *,
    cold: bool = False,
) -> Iterator[Process]:
    """A service in a process; `cold`: from the very start, and not from what is imported."""
    ours = ["serve", "--port", "0"] if module == "sightline" else []
    told = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
    process = warm_start.start(["-m", module, *ours, *arguments], told, cold=cold)
    assert process.stdout is not None
    said = ""
    try:
        while not ("startup complete" in said and "http://" in said):
            line = process.stdout.readline()
            assert line, f"it ended at start:\n{said}"
            said += line
        found = re.search(r"(?:photo\.jpg|running on) (http://[\d.]+:(\d+))", said)
        assert found, said
        eventually(lambda: listens(int(found[2])), "it listens")
        yield Process(found[1], process, said)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
