"""Commands as processes or, where `sightline` only has to refuse them, without one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from tempfile import TemporaryFile
from typing import TYPE_CHECKING
from unittest.mock import patch

from sightline.cli import main
from support import warm_start
from support.warm_start import WarmProcess

if TYPE_CHECKING:
    from pathlib import Path

Done = subprocess.CompletedProcess
_TIMEOUT = 300  # seconds


def sightline(*arguments: str | Path, cold: bool = False, **environment: str) -> Done[str]:
    """What a process of `sightline` said, and how it ended."""
    return python("-m", "sightline", *arguments, cold=cold, **environment)


def python(*arguments: str | Path, cold: bool = False, **environment: str) -> Done[str]:
    """What a process said, and how it ended; `cold`: from the very start."""
    command, told = [*map(str, arguments)], os.environ | environment
    if cold or not warm_start.POSSIBLE:
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            env=told,
        )
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        process = WarmProcess(command, told, (stdout, stderr))
        try:
            code = process.wait(_TIMEOUT)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return Done(command, code, stdout.read(), stderr.read())


@contextmanager
def running(*arguments: str | Path) -> Iterator[warm_start.Started]:
    """A process of `sightline` that is killed in the end; its stdout is a pipe of all it says."""
    command = ["-m", "sightline", *map(str, arguments)]
    process = warm_start.start(command, os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def refused(*arguments: str | Path) -> str:
    """The one line that a command says which ends, with 2, before it has begun anything.

    Not for `serve`, which changes how this process logs.
    """
    command = ["sightline", *map(str, arguments)]
    said, told = StringIO(), StringIO()
    with patch.object(sys, "argv", command), redirect_stdout(said), redirect_stderr(told):
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert (code, said.getvalue()) == (2, "")
    return one_line(told.getvalue())


def one_line(told: str) -> str:
    """What is wrong, if that is all it says."""
    (line,) = told.strip().splitlines()
    assert line.startswith("error: ")
    return line
