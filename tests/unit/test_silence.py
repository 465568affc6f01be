"""Nothing is sent anywhere, and nothing is written at home, whatever a dependency would like."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.models.resolve import BUNDLED
from support.pictures import png

WATCHED = """
import os, sys
SUSPECT = {"socket.connect", "socket.getaddrinfo", "urllib.Request"}
def watch(event, arguments):
    if event in SUSPECT:
        os.write(1, f"{event} {arguments}\\n".encode())
sys.addaudithook(watch)
"""


QUANTISE = f"""
from pathlib import Path
from sightline.training.quantize import quantize
quantize(Path({str(BUNDLED)!r}), Path("x.xml"), [Path("a.png")], max_pixels=10**6)
"""


def said_by(code: str, home: Path) -> str:
    """What `code` prints, in a process without a CI's settings, which would silence it too."""
    settings = {name: value for name, value in os.environ.items() if name not in {"CI", "NNCF_CI"}}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + code],
        env=settings | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import sightline.engines.openvino",
        "from sightline import Detector",
        QUANTISE,
    ],
)
def test_nothing_is_told_to_anybody(code: str, tmp_path: Path) -> None:
    Path("a.png").write_bytes(png())
    home = tmp_path / "home"
    home.mkdir()
    assert said_by(code, home) == ""
    assert list(home.iterdir()) == []


def test_the_watch_would_notice(tmp_path: Path) -> None:
    assert "socket.connect" in said_by(
        "import socket; socket.socket().connect_ex(('127.0.0.1', 9))", tmp_path
    )
