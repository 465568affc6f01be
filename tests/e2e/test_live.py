"""Live detection as an operator runs it: one process, and several."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from support import pictures
from support.commands import python
from support.eventually import eventually
from support.frames import ended, refusal, said, watching
from support.processes import children
from support.servers import Process, serve

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
WATCHERS = 6


@pytest.mark.parametrize("workers", [0, 2])
def test_frames_are_answered_until_the_service_is_stopped(workers: int) -> None:
    arguments = ["--engine", "fake", "--workers", str(workers)]
    with serve(arguments) as running, ExitStack() as stack:
        watchers = [stack.enter_context(watching(running.url)) for _ in range(WATCHERS)]
        for number in (1, 2, 3):
            for watcher in watchers:
                watcher.send(GOOD)
            for watcher in watchers:
                answer = said(watcher)
                assert (answer["frame"], answer["dropped"], answer["count"]) == (number, 0, 1)
        running.process.send_signal(signal.SIGTERM)
        assert [ended(watcher) for watcher in watchers] == [1012] * WATCHERS
        running.process.communicate(timeout=60)
        assert running.process.returncode == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_without_the_engine_process_clients_are_told_to_come_again(tmp_path: Path) -> None:
    arguments = ["--engine", "fake", "--workers", "2", "--data-dir", str(tmp_path)]
    with serve(arguments) as running, watching(running.url) as watcher:
        watcher.send(GOOD)
        assert said(watcher)["count"] == 1
        found = children(running.process.pid)
        running.process.send_signal(signal.SIGSTOP)  # it starts no other
        os.kill(next(pid for pid, line in found if line.endswith("engine")), signal.SIGKILL)
        eventually(lambda: ready(running) == 503, "it is away", 60)
        watcher.send(GOOD)
        assert refusal(watcher, "not-serving", 1013)["retry_after"] >= 1
        running.process.send_signal(signal.SIGCONT)
        eventually(lambda: ready(running) == 200, "it is back", 60)
        with watching(running.url) as again:
            again.send(GOOD)
            assert said(again)["count"] == 1


def ready(running: Process) -> int:
    return httpx.get(f"{running.url}/health/ready", timeout=60).status_code


def test_the_example_of_the_docs_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "live.md").read_text("utf-8")
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), 220, np.uint8))
    writer.release()
    with serve(["--engine", "fake"]) as running:
        code = found[1].replace("127.0.0.1:8000", running.url.removeprefix("http://"))
        code = code.replace("VideoCapture(0)", f"VideoCapture({str(film)!r})")
        done = python("-c", code, no_proxy="127.0.0.1")
    assert done.stdout.splitlines() == [f"{number} ['bright']" for number in (1, 2, 3)]
