"""`sightline models` and `sightline pull`, and a service that pulls what it serves."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from sightline.models.catalogue import CATALOGUE
from support import graphs
from support.commands import refused, sightline
from support.file_server import FileServer, network, open_file_server
from support.screen import ask
from support.servers import serve


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    with open_file_server() as file_server:
        yield file_server


def on_a_terminal(*arguments: str) -> str:
    """What the command shows to somebody who watches it."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sightline", *arguments]
    wide = os.environ | {"COLUMNS": "160", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=wide) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:  # how Linux says that the other end has closed
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0, seen.decode()
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen.decode())  # without colours


def test_the_list_is_plain_columns_in_a_pipe_and_a_table_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "yolox-tiny.onnx").write_bytes(b"")
    done = sightline("models", "--data-dir", str(tmp_path))
    assert done.returncode == 0
    header, *lines = done.stdout.splitlines()
    assert header.split()[:4] == ["name", "cached", "family", "input"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert list(rows) == list(CATALOGUE)
    assert rows["yolox-tiny"][:7] == ["yes", "yolox", "416", "32.8", "5.06", "20.2", "Apache-2.0"]
    assert rows["yolov8n"][0] == "no"
    table = on_a_terminal("models")
    assert "┃ cached ┃" in table
    assert all(name in table for name in CATALOGUE)


def test_pull_tells_how_far_it_is_and_where_the_file_lies(
    file_server: FileServer, tmp_path: Path
) -> None:
    address = file_server.put("/best.onnx", network(tmp_path))
    done = sightline("pull", address)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == file_server.files["/best.onnx"]
    assert done.stderr.splitlines()[-1] == "pulling: 0.5 MB of 0.5 MB"
    seen = on_a_terminal("pull", address, "--data-dir", str(tmp_path / "other"))
    assert "pulling" in seen
    assert "━" in seen
    assert str(tmp_path / "other" / "models") in seen


def test_a_service_pulls_its_model_and_starts_without_it_the_next_time(
    file_server: FileServer, tmp_path: Path
) -> None:
    rows = np.array([[0, 0, 8, 8, 0.9, 0]], np.float32)
    file = graphs.constant_network(
        tmp_path / "toys.onnx", {"out": rows}, metadata=graphs.names("duck", "ball")
    )
    address = file_server.put("/toys.onnx", file.read_bytes())
    for _ in range(2):
        with serve(["--model", address]) as running:
            health = httpx.get(f"{running.url}/health", timeout=60).json()
            assert health.get("model") == "toys", health
            assert running.stop()[0] == 0
    assert len(file_server.asked) == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("yolox-tny", "did you mean yolox-tiny"),
        ("yolox-s", "yolox_s.onnx cannot be reached"),
        ("yolo11n", "yolo export model=yolo11n.pt"),
        ("https://host/best.pt", "yolo export model=best.pt"),
    ],
)
def test_a_named_model_that_cannot_be_had_fails_at_start(
    tmp_path: Path, model: str, message: str
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert message in refused("detect", "photo.jpg", "--model", model)


def test_no_model_and_no_connection_is_the_demo_model_and_says_so(tmp_path: Path) -> None:
    """What a newcomer without internet sees: a service that finds toys, and how to get more."""
    picture = tmp_path / "toys.jpg"
    assert sightline("demo", "image", picture, "--seed", "5").returncode == 0
    truth = json.loads(picture.with_suffix(".json").read_text())["objects"]
    with serve() as running:
        health = httpx.get(f"{running.url}/health", timeout=60).json()
        assert health["model"] == "demo"
        assert "DEMO MODEL" in health["notice"]
        assert "sightline pull yolox-tiny" in health["notice"]
        found = ask(running.url, picture.read_bytes())
        assert sorted(one["label"] for one in found) == sorted(toy["label"] for toy in truth)
        assert httpx.get(f"{running.url}/health/ready", timeout=60).status_code == 200
        code, said = running.stop()
    assert (code, "DEMO MODEL" in running.said) == (0, True), said
