"""The programs that people start from, as they are run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from support import pictures
from support.servers import live

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LARGE = (4000, 3000)


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    """Two of 12 million pixels; the fake engine finds `bright` in one and `dark` in the other."""
    paths = []
    for name, shade in (("day", (250, 240, 230)), ("night", (100, 100, 90))):
        image = Image.new("RGB", LARGE, shade)
        paths.append(tmp_path / f"{name}.jpg")
        paths[-1].write_bytes(pictures.encode(image, "JPEG"))
    return paths


def test_each_is_short() -> None:
    for path in EXAMPLES.iterdir():
        assert len(path.read_text("utf-8").splitlines()) < 60, path.name


def test_predict_one(tmp_path: Path) -> None:
    (tmp_path / "grey.jpg").write_bytes(pictures.jpeg())
    (tmp_path / "notes.txt").write_text("no picture")
    with live(confidence=0.1) as server:
        done = run("predict_one.py", tmp_path / "grey.jpg", server.url)
        wrong = run("predict_one.py", tmp_path / "notes.txt", server.url)
    assert done.returncode == 0, done.stderr
    assert "grey.jpg: 1 found\n  " in done.stdout
    assert wrong.returncode == 1
    assert "notes.txt: This is" in wrong.stdout


def stress(photographs: list[Path], count: int, folder: Path) -> None:
    with live(confidence=0.1) as server:
        options = ("--count", str(count), "--url", server.url, "--save", folder)
        done = run("stress_predict.py", *photographs, *options)
    assert done.returncode == 0, done.stderr
    day, night, told = done.stdout.splitlines()
    assert (day, night) == ("day: bright", "night: dark")
    assert told.startswith(f"{count} in ")
    saved = sorted(folder.iterdir())
    assert len(saved) == count
    for number, path in enumerate(saved):
        with Image.open(path) as image:
            assert image.size == LARGE
            assert (image.getpixel((2000, 1500))[0] > 200) == (number % 2 == 0)  # type: ignore[index]


def test_three_large_photographs_in_parallel(photographs: list[Path], tmp_path: Path) -> None:
    stress(photographs, 3, tmp_path / "annotated")


@pytest.mark.soak
def test_three_hundred_large_photographs_in_parallel(
    photographs: list[Path], tmp_path: Path
) -> None:
    stress(photographs, 300, tmp_path / "annotated")
