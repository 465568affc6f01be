"""A service of one's own to measure: a child process on a free port."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from sightline.bench.plan import parse_target
from sightline.errors import ConfigError

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
_START_TIMEOUT = (
    30  # seconds in which it has to listen once it has started, and to end when told to
)


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """The address (http://127.0.0.1:port) of the service that `command` starts, once it is ready.

    It runs in an empty folder and without SIGHTLINE_* of this shell, so that what is measured is
    the service as it comes. What it needs to know is in `command`.

    Raises:
        ConfigError: it ended at start.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SIGHTLINE_") and name != "PORT"
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(  # noqa: S603  a command of ours
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C is for us: we stop it when we have our figures
        ) as process,
    ):
        try:
            output = process.stdout or sys.stdin
            url = _address(output, command)
            # What it says from here on is dropped, so that a full pipe cannot stop it.
            threading.Thread(target=output.read, daemon=True).start()
            _until_it_listens(url)
            yield url
        finally:
            _stop(process)


def serve_command(*options: str) -> list[str]:
    """The command of our own service, on a free port."""
    return [sys.executable, "-m", "sightline", "serve", "--port", "0", *options]


def _address(output: IO[str], command: list[str]) -> str:
    said = ""
    while not ((found := _ADDRESS.search(said)) and "startup complete" in said):
        line = output.readline()
        if not line:
            raise ConfigError(f"the service ended at start: {' '.join(command)}\n{said.strip()}")
        said += line
    return found[0]


def _until_it_listens(url: str) -> None:
    """Uvicorn says that it started just before it listens, and nothing after."""
    target = parse_target(url)
    end = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            socket.create_connection((target.host, target.port), _START_TIMEOUT).close()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_START_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
    if sys.platform != "win32":
        # Some services leave processes of theirs behind, which would hold the pipe open for ever.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
