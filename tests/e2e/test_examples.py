"""The programs that people start from, as they are run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from PIL import Image

from sightline.demo.moving import MovingScene
from sightline.demo.video import write_video
from support import pictures
from support.commands import Done, python
from support.servers import Live, live
from support.tasks import DARKEST, picture

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LARGE = (4000, 3000)


def run(name: str, *arguments: str | Path) -> Done[str]:
    return python(EXAMPLES / name, *arguments)


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
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) < 40, path.name


def test_each_says_how_it_is_called() -> None:
    for path in EXAMPLES.glob("*.py"):
        done = run(path.name)
        assert done.returncode, path.name
        usage = done.stderr.strip().splitlines()
        assert "Traceback" not in done.stderr
        assert any(path.name in line for line in usage), path.name


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


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live(confidence=0.1) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, and one that is none."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in (7, 8, 9):
        (photos / f"{number}.png").write_bytes(picture(number))
    (photos / "notes.jpg").write_text("no picture")
    return photos


def test_detect_one(server: Live, tmp_path: Path) -> None:
    (tmp_path / "grey.png").write_bytes(picture(30))
    done = run("detect_one.py", tmp_path / "grey.png", tmp_path / "boxes.jpg", server.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("bright 0.67 [0, 0, 50, 20]\n1 found by fake in ")
    with Image.open(tmp_path / "boxes.jpg") as image:
        assert image.size == (50, 20)
    assert run("detect_one.py", tmp_path / "none.png", "boxes.jpg").returncode == 1


def test_folder_to_csv(server: Live, folder: Path) -> None:
    done = run("folder_to_csv.py", folder, server.url)
    assert done.returncode == 1, "one was no picture"
    assert done.stderr.startswith(f"{folder / 'notes.jpg'}: This is text")
    head, *rows = done.stdout.splitlines()
    assert head == "picture,label,confidence,x1,y1,x2,y2"
    shades = {number: f"{(DARKEST + number) / 255:.3f}" for number in (7, 8, 9)}
    assert sorted(rows) == [
        f"{folder / f'{number}.png'},bright,{shades[number]},0.0,0.0,{20 + number}.0,20.0"
        for number in (7, 8, 9)
    ]


def test_batch(server: Live, folder: Path) -> None:
    done = run("batch.py", folder, server.url)
    assert done.returncode == 1, "one was no picture"
    assert "4/4" in done.stdout or "100%" in done.stdout
    assert "     3 bright\n" in done.stdout
    assert f"{folder / 'notes.jpg'}: This is text" in done.stdout
    (folder / "notes.jpg").unlink()
    assert run("batch.py", folder, server.url).returncode == 0


def test_webcam_on_a_video_file(server: Live, tmp_path: Path) -> None:
    for _ in write_video(tmp_path / "toys.mp4", MovingScene(1, 320, 240, 12), 12):
        pass
    done = run("webcam.py", tmp_path / "toys.mp4", tmp_path / "boxes.mp4", server.url)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 12
    assert all(line.endswith(("/s  1 bright", "/s  1 dark")) for line in done.stdout.splitlines())
    shown = cv2.VideoCapture(str(tmp_path / "boxes.mp4"))
    assert shown.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    shown.release()
    missing = run("webcam.py", tmp_path / "none.mp4", "", server.url)
    assert "there is no camera or video" in missing.stderr


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
