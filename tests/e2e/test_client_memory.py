"""Pictures go from disk to the service without lying in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support import processes
from support.servers import live
from support.tasks import picture

MB = 2**20
PROGRAM = r"""
import asyncio, re, sys
from pathlib import Path
from sightline.client import AsyncClient, Client


kind, url, *paths = sys.argv[1:]

async def in_loop():
    async with AsyncClient(url) as client:
        await client.detect(paths[-1])
        before = peak()
        return before, await client.submit(paths[:-1] * 20)

def peak():  # KB; ru_maxrss would be that of whoever started this program, if that was more
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

if kind == "async":
    before, handle = asyncio.run(in_loop())
else:
    with Client(url) as client:
        client.detect(paths[-1])
        before, handle = peak(), client.submit(paths[:-1] * 20)
print(handle.total, (peak() - before) // 1024)
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """10 MB that begin as a picture does."""
    path = tmp_path / "large.png"
    path.write_bytes(picture(1).ljust(10 * MB - 1, b"\0"))
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
@pytest.mark.parametrize("kind", [pytest.param("sync", marks=pytest.mark.soak), "async"])
def test_twenty_of_ten_megabytes(kind: str, large: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    small.write_bytes(picture(1))
    with live(max_results_mb=1) as server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, kind, server.url, large, small],
            env=processes.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    total, grown = map(int, done.stdout.split())
    assert total == 20
    assert grown < 20, f"{grown} MB"  # 1; two pictures at once are more
