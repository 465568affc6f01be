"""`sightline detect` as somebody at a terminal meets it."""

from __future__ import annotations

import csv
import http.server
import io
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from sightline.cli import app
from support import pictures

FAKE = ("--engine", "fake", "--confidence", "0.1")


def detect(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["detect", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good pictures (one in a folder below, of the same name), a broken one, and a text."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    Image.new("RGB", (64, 48), "white").save(folder / "a.jpg")
    Image.new("RGB", (32, 32), (200, 200, 200)).save(folder / "below" / "a.png")
    (folder / "broken.jpg").write_bytes(pictures.jpeg(640, 480)[:-900])
    (folder / "notes.txt").write_text("not a picture, and not looked at")
    return folder


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_real_photograph(shared: Path) -> None:
    model = shared / "models" / "yolox-nano.onnx"
    result = detect(shared / "photos" / "person.jpg", "--model", model)
    assert result.exit_code == 0
    (line,) = lines(result)
    assert sorted(found["label"] for found in line["detections"]) == ["dog", "horse", "person"]
    assert line["image"] == {"width": 640, "height": 424}


def test_one_bad_picture_loses_no_other(folder: Path) -> None:
    result = detect(folder, *FAKE)
    assert result.exit_code == 1
    first, second, third = lines(result)
    assert (first["file"], first["count"]) == (str(folder / "a.jpg"), 1)
    assert (second["file"], second["count"]) == (str(folder / "below" / "a.png"), 1)
    assert third["file"] == str(folder / "broken.jpg")
    assert "truncated" in third["error"]
    assert "1 of 3 pictures failed" in result.stderr
    assert str(folder / "broken.jpg") in result.stderr


def test_files_globs_and_missing_ones(folder: Path) -> None:
    result = detect(folder / "a.jpg", folder / "*.jpg", "missing.jpg", *FAKE)
    names = [Path(line["file"]).name for line in lines(result)]
    assert names == ["a.jpg", "broken.jpg", "missing.jpg"]
    assert result.exit_code == 1


@pytest.mark.parametrize("source", ["*.jpg", "."])
def test_nothing_found_is_an_error(source: str) -> None:
    result = detect(source, *FAKE)
    assert "there are no pictures" in str(result.exception)


def test_save_keeps_one_file_a_picture(folder: Path, tmp_path: Path) -> None:
    result = detect(folder / "a.jpg", folder / "below", "--save", tmp_path / "out", *FAKE)
    assert result.exit_code == 0
    saved = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert saved == ["a-2.jpg", "a.jpg"]
    for name, size in (("a.jpg", (64, 48)), ("a-2.jpg", (32, 32))):
        with Image.open(tmp_path / "out" / name) as drawn:
            assert drawn.size == size


def test_csv(folder: Path) -> None:
    result = detect(folder / "a.jpg", "--format", "csv", *FAKE)
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert (row["label"], row["x2"], row["y2"]) == ("bright", "64.0", "48.0")


def test_coco(folder: Path) -> None:
    result = detect(folder, "--format", "coco", *FAKE)
    document = json.loads(result.stdout)
    assert [image["id"] for image in document["images"]] == [1, 2]
    assert document["annotations"][1] == {
        "id": 2, "image_id": 2, "category_id": 0, "bbox": [0.0, 0.0, 32.0, 32.0],
        "area": 1024.0, "score": pytest.approx(200 / 255, abs=1e-4), "iscrowd": 0,
    }  # fmt: skip
    assert document["categories"] == [{"id": 0, "name": "bright"}, {"id": 1, "name": "dark"}]


def test_yolo(folder: Path, tmp_path: Path) -> None:
    result = detect(folder / "a.jpg", "--format", "yolo", "--save", tmp_path / "out", *FAKE)
    assert result.exit_code == 0
    (line,) = (tmp_path / "out" / "a.txt").read_text().splitlines()
    assert line.split()[:5] == ["0", "0.500000", "0.500000", "1.000000", "1.000000"]
    assert (tmp_path / "out" / "a.jpg").is_file()
    assert "add --save" in str(detect(folder, "--format", "yolo", *FAKE).exception)


def test_options(folder: Path) -> None:
    (line,) = lines(detect(folder / "a.jpg", "--classes", "dark", *FAKE))
    assert line["count"] == 0
    assert "unicorn" in str(detect(folder / "a.jpg", "--classes", "unicorn", *FAKE).exception)


def test_pictures_that_are_read_from_are_never_written_over(folder: Path) -> None:
    before = (folder / "a.jpg").read_bytes()
    result = detect(folder, "--save", folder, *FAKE)
    assert "holds pictures that are read from" in str(result.exception)
    assert (folder / "a.jpg").read_bytes() == before


def test_a_picture_that_cannot_be_saved_loses_no_other(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "a.jpg").mkdir(parents=True)
    result = detect(folder / "a.jpg", folder / "below", "--save", tmp_path / "out", *FAKE)
    first, second = lines(result)
    assert "cannot save it" in first["error"]
    assert second["count"] == 1
    assert result.exit_code == 1


def test_paths_that_can_be_none(folder: Path) -> None:
    for source in ("~nobody-of-that-name/a.jpg", "x" * 5000):
        assert "is no path" in str(detect(source, *FAKE).exception)


def test_output_that_cannot_be_written_is_one_line(folder: Path) -> None:
    command = f"{sys.executable} -m sightline detect {folder} {' '.join(FAKE)} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: output: No space left")


def test_a_folder_that_cannot_be_written_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = detect(folder / "a.jpg", "--save", tmp_path / "file" / "out", *FAKE)
    assert "cannot save to" in str(result.exception)


@pytest.fixture
def website(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_addresses(website: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = detect(
        f"{website}/a.jpg", f"{website}/none.jpg", "http://127.0.0.1:1/", "http://[", *FAKE,
        "--save", tmp_path / "out",
    )  # fmt: skip
    good, missing, refused, malformed = lines(result)
    assert (good["count"], result.exit_code) == (1, 1)
    assert "answered 404" in missing["error"]
    assert "cannot be fetched" in refused["error"]
    assert "cannot be fetched" in malformed["error"]
    assert (tmp_path / "out" / "a.jpg").is_file()
    monkeypatch.setenv("SIGHTLINE_MAX_UPLOAD_MB", "0.0001")
    (line,) = lines(detect(f"{website}/a.jpg", *FAKE))
    assert "larger than the limit" in line["error"]


def test_a_terminal_shows_progress_and_a_pipe_does_not(folder: Path) -> None:
    command = [sys.executable, "-m", "sightline", "detect", str(folder), *FAKE]
    piped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "detecting" not in piped.stderr
    parent, child = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=child) as process:
        os.close(child)
        shown = b""
        try:
            while part := os.read(parent, 4096):
                shown += part
        except OSError:  # how Linux says that the other end of a terminal is closed
            pass
        stdout, _ = process.communicate()
    os.close(parent)
    assert b"detecting" in shown
    assert len(stdout.splitlines()) == 3


def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    for number in range(40):
        Image.fromarray(np.full((32, 32, 3), 200, np.uint8)).save(folder / f"n{number}.png")
    command = f"{sys.executable} -m sightline detect {folder} {' '.join(FAKE)} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
