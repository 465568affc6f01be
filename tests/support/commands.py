"""`sightline` with arguments, as a process or, where it only has to refuse them, without one."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING
from unittest.mock import patch

from sightline.cli import main

if TYPE_CHECKING:
    from pathlib import Path

Done = subprocess.CompletedProcess


def sightline(*arguments: str | Path, **environment: str) -> Done[str]:
    """What a process said, and how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "sightline", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


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
