"""A served process under watch: what it uses, and what it says."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fuzz.heads import ADMIN_KEY
from support.eventually import eventually
from support.processes import Usage, usage
from support.servers import Process, serve

_TROUBLE = re.compile(
    rb"Traceback|Segmentation|Fatal Python|never (retrieved|awaited)"
    rb'|"level": "(error|critical)"|dropped'
)
_KEPT = 4000

MAX_PIXELS = 1_000_000
_OPTIONS = {
    "SIGHTLINE_ADMIN_KEY": ADMIN_KEY.decode(),
    # Headers that honestly claim huge pictures are for fuzz.bombs: they measure the allocator.
    "SIGHTLINE_MAX_PIXELS": str(MAX_PIXELS),
}


class Watched:
    """A server whose output is read all the time: a full pipe would stop it.

    Attributes:
        trouble: what it said of tracebacks and errors, at most a few of them.
    """

    def __init__(self, running: Process) -> None:
        self.running = running
        self.fault: list[str] = []
        self.host, port = running.url.removeprefix("http://").split(":")
        self.port = int(port)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def usage(self) -> Usage:
        return usage(self.running.process.pid)

    @property
    def alive(self) -> bool:
        return self.running.process.poll() is None

    def wait_until_it_listens(self) -> None:
        """It says that it has started a moment before it listens."""
        eventually(self._listens, "it does not listen")

    def _listens(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), 60).close()
        except ConnectionRefusedError:
            assert self.alive
            return False
        return True

    def stop(self) -> int:
        """SIGTERM; its exit code, once all it said is read."""
        self.running.process.terminate()
        code = self.running.process.wait(60)
        self._thread.join(60)
        return code

    def _read(self) -> None:
        assert self.running.process.stdout is not None
        said = b""
        while chunk := os.read(self.running.process.stdout.fileno(), 1 << 16):
            said = said[-_KEPT:] + chunk
            found = _TROUBLE.search(said, max(0, len(said) - len(chunk) - 20))
            if found and len(self.fault) < 5:
                self.fault.append(said[found.start() :][:_KEPT].decode("utf-8", "replace"))


@contextmanager
def watched(**more: str) -> Iterator[Watched]:
    """`sightline serve` with the fake engine, watched."""
    before = {name: os.environ.get(name) for name in _OPTIONS | more}
    # Coverage of a million requests would be told by the first thousand, at half the speed.
    before["COVERAGE_PROCESS_CONFIG"] = os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    os.environ.update(_OPTIONS | more)
    try:
        with serve(["--engine", "fake"]) as running:
            server = Watched(running)
            server.wait_until_it_listens()
            try:
                yield server
            finally:
                if server.alive:
                    server.stop()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
