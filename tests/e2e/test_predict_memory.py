"""What a hundred large pictures in one request take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from support import pictures
from support.servers import serve

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

_BOUNDARY = "5ightl1ne"
_MB = 2**20


def peak(pid: int) -> int:
    """Most bytes that the process has held since this was last asked."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    found = next(line for line in lines if line.startswith("VmHWM"))
    Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")
    return int(found.split()[1]) * 1024


def form(picture: bytes, count: int) -> Iterator[bytes]:
    for number in range(count):
        head = f'Content-Disposition: form-data; name="files"; filename="{number}.jpg"'
        yield f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode()
        for start in range(0, len(picture), _MB):
            yield picture[start : start + _MB]
        yield b"\r\n"
    yield f"--{_BOUNDARY}--\r\n".encode()


@pytest.mark.parametrize("count", [15, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_pictures_of_ten_megabytes(tmp_path: Path, kind: str, count: int) -> None:
    """Up to 1 GB in one request; the bound holds while the service works on them too.

    A JPEG's header is checked as it arrives, a TIFF's once the file is complete.
    """
    small = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), kind)
    large = small + b"\0" * (10 * _MB - len(small))
    head = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
    with (
        serve(["--engine", "fake", "--data-dir", str(tmp_path)]) as service,
        httpx.Client(base_url=service.url, timeout=120) as client,
    ):
        for _ in range(2):  # what is loaded at first use is not what is measured
            warm = client.post("/predict", content=form(small, 5), headers=head)
            client.get(f"{warm.headers['location']}?wait=60")
        before = peak(service.process.pid)
        accepted = client.post("/predict", content=form(large, count), headers=head)
        assert accepted.status_code == 201, accepted.text
        assert accepted.json()["failed"] == 0
        received = peak(service.process.pid) - before
        state = client.get(f"{accepted.headers['location']}?wait=60").json()
        worked = peak(service.process.pid) - before
    assert state["progress"] == {"done": count, "total": count, "failed": 0}
    assert received < 100 * _MB
    assert worked < 100 * _MB
