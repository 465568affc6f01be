"""Real servers on real sockets."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial

import uvicorn
from fastapi import FastAPI

from sightline import Detector
from sightline.api.app import create_app
from sightline.api.server.config import make_config
from sightline.net.connect import Resolve
from sightline.serving.repository import Repository
from sightline.settings import Settings, load_settings
from sightline.wiring import (
    find_model,
    local_backend,
    open_fetcher,
    open_repository,
    open_tasks,
)
from support.eventually import eventually

# On a machine that stalls: nothing is refused for its pace, nor cut, and no canary comes between.
UNHURRIED: dict[str, object] = {
    "max_wait": 60,
    "url_timeout": 60,
    "head_timeout": 60,
    "idle_timeout": 60,
    "canary_interval": 3600,
}


@dataclass
class Live:
    """A server in a thread of this process, so that a test can reach its detector."""

    url: str
    port: int
    repository: Repository
    settings: Settings
    app: FastAPI
    server: uvicorn.Server

    def stop(self) -> None:
        """Begin to stop, as a SIGTERM does."""
        self.server.should_exit = True

    @property
    def detector(self) -> Detector:
        """The default model's."""
        served = self.repository.slots()[0].loaded
        assert served is not None
        return served.detector


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


def _live(settings: Settings, resolve: Resolve) -> Iterator[Live]:
    repository = open_repository(*find_model(settings))
    desk = cache(partial(open_tasks, settings))
    backend = local_backend(settings, lambda: repository, desk)
    app = create_app(settings, backend, open_fetcher(settings, resolve).fetch, desk)
    config = make_config(app, settings)
    config.port = 0
    server = uvicorn.Server(config)
    started = threading.Event()
    startup = server.startup

    async def startup_and_tell(sockets: object = None) -> None:
        await startup(sockets)  # type: ignore[arg-type]
        started.set()

    server.startup = startup_and_tell  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(60)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Live(f"http://127.0.0.1:{port}", port, repository, settings, app, server)
    finally:
        server.should_exit = True
        thread.join(60)


@dataclass
class Process:
    """`sightline serve` as an operator starts it."""

    url: str
    process: subprocess.Popen[str]
    said: str

    def stop(self) -> tuple[int, str]:
        """SIGTERM, then its exit code and what it still said."""
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=60)
        return self.process.returncode, said


@contextmanager
def serve(
    arguments: Sequence[str] = (),
    module: str = "sightline",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    ours = ["serve", "--port", "0"] if module == "sightline" else []
    command = [sys.executable, "-m", module, *ours, *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
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
