"""Starts a service to be measured, as a child process on a free port."""

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
_START_TIMEOUT = 30  # seconds from its start until it listens, and from SIGTERM until it ends


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """Start a service with `command`; yields its address (http://127.0.0.1:port) once it is ready.

    It runs in an empty folder and without this shell's SIGHTLINE_* variables, so with default
    settings except for those in `command`.

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
            start_new_session=True,  # Ctrl-C must not reach it: it is stopped after the report
        ) as process,
    ):
        try:
            output = process.stdout or sys.stdin
            url = _address(output, command)
            # Later output is discarded, so that a full pipe cannot block it.
            threading.Thread(target=output.read, daemon=True).start()
            _until_it_listens(url)
            yield url
        finally:
            _stop(process)


def serve_command(*options: str) -> list[str]:
    """The command of a Sightline service on a free port."""
    return [sys.executable, "-m", "sightline", "serve", "--port", "0", *options]


def _address(output: IO[str], command: list[str]) -> str:
    printed = ""
    while not ((found := _ADDRESS.search(printed)) and "startup complete" in printed):
        line = output.readline()
        if not line:
            raise ConfigError(f"the service ended at start: {' '.join(command)}\n{printed.strip()}")
        printed += line
    return found[0]


def _until_it_listens(url: str) -> None:
    """Wait until the service listens: uvicorn logs its start just before that."""
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
        # Some services leave child processes behind, which would keep the pipe open.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
