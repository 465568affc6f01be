"""`sightline bench` as somebody at a terminal meets it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import pictures
from support.bad_servers import answer, bad_server, read_request
from support.commands import refused, sightline
from support.servers import live

if TYPE_CHECKING:
    import socket


bench = partial(sightline, "bench")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures in a folder, beside a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(pictures.jpeg())
    (folder / "b.png").write_bytes(pictures.png())
    (folder / "notes.txt").write_text("not a picture, and not sent")
    return folder


def test_figures_a_table_and_a_report(photos: Path, tmp_path: Path) -> None:
    with live() as server:
        done = bench(
            *(server.url, "--image", photos, "--requests", "20", "--warm-up", "0.1"),
            *("--json", "-", "--html", "report.html", "--save", "out", "--concurrency", "2"),
        )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["sent"], figures["ok"]) == (20, 20)
    assert figures["service"]["engine"] == "fake"
    assert figures["load"]["pictures"] == ["a.jpg", "b.png"]
    assert figures["command"].startswith(f"sightline bench {server.url} --image")
    assert figures["latency"]["p50"] <= figures["latency"]["max"]
    assert "images a minute" in done.stderr
    assert re.search(r"^200 +20 ", done.stderr, re.MULTILINE)
    assert "20 of 20 requests" in (tmp_path / "report.html").read_text("utf-8")
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_tasks_and_how_long_it_takes_to_submit_one(photos: Path) -> None:
    with live() as server:
        done = bench(
            *(server.url, "--mode", "tasks", "--batch", "3", "--image", photos, "--requests", "4"),
            *("--warm-up", "0", "--json", "-", "--html", "report.html", "--concurrency", "2"),
        )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["sent"], figures["ok"]) == (12, 12)
    assert figures["load"]["url"] == f"{server.url}/predict"
    assert figures["load"]["batch"] == 3
    assert 0 < figures["submit"]["p50"] <= figures["latency"]["max"]
    assert re.search(r"^submit +[\d.]+ m?s", done.stderr, re.MULTILINE)
    page = Path("report.html").read_text("utf-8")
    assert "12 of 12 pictures were done" in page
    assert "Submitting a task" in page


def test_without_a_picture_a_scene_is_drawn_and_the_table_goes_to_stdout() -> None:
    with live() as server:
        done = bench(server.url, "--requests", "2", "--warm-up", "0", "--json", "figures.json")
    assert done.returncode == 0
    assert "requests/s" in done.stdout
    assert json.loads(Path("figures.json").read_text())["load"]["pictures"] == ["scene.jpg"]


def test_a_refused_key_is_a_failure_and_no_key_is_told_on(photos: Path) -> None:
    with live(api_keys="me:open-sesame-open-sesame") as server:
        common = (server.url, "--image", photos, "--requests", "4", "--warm-up", "0")
        wrong = bench(*common, "--key", "hidden-in-here", "--json", "-", "--html", "r.html")
        right = bench(*common, SIGHTLINE_API_KEY="open-sesame-open-sesame")
    assert wrong.returncode == 1
    assert "0 of 4 requests were answered with 200. The others: 401" in wrong.stderr
    assert json.loads(wrong.stdout)["latency"]["p50"] is None
    assert "hidden-in-here" not in wrong.stdout + wrong.stderr + Path("r.html").read_text("utf-8")
    assert right.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one thing to measure"),
        (["127.0.0.1:8000"], "name one thing to measure"),
        (["http://a", "http://b"], "name one thing to measure"),
        (["http://a", "--engine", "x.onnx"], "name one thing to measure"),
        (["--engine", "x.onnx", "--rate", "5"], "--engine goes with"),
        (["--engine", "x.onnx", "--mode", "tasks"], "--engine goes with"),
        (["http://a", "--mode", "tasks", "--save", "x"], "--save goes with"),
        (["--engine", "x.onnx", "--duration", "0"], "too short"),
        (["--engine", "missing.onnx"], "missing.onnx does not exist"),
        (["http://127.0.0.1:9"], "nothing to measure at http://127.0.0.1:9/detect: refused"),
        (["http://127.0.0.1:9", "--duration", "soon"], "no duration"),
        (["http://127.0.0.1:9", "--image", "missing.jpg"], "missing.jpg"),
        (["http://127.0.0.1:9", "--image", "."], "there are no pictures"),
        (["http://127.0.0.1:9", "--html", "no/such/folder.html"], "folder.html"),
    ],
)
def test_what_one_can_get_wrong_is_one_clear_line(arguments: list[str], message: str) -> None:
    assert message in refused("bench", *arguments)


def test_pictures_may_follow_as_a_shell_puts_them(photos: Path) -> None:
    found = sorted(photos.glob("*.*g"))
    with live() as server:
        done = bench(
            "--image", *found, server.url, "--requests", "2", "--warm-up", "0", "--json", "-"
        )
    assert json.loads(done.stdout)["load"]["pictures"] == ["a.jpg", "b.png"]


def test_ctrl_c_ends_it_and_it_still_reports(photos: Path) -> None:
    noted = threading.Event()

    def count(connection: socket.socket) -> None:
        answered = False
        while True:
            if read_request(connection).startswith(b"POST"):
                if answered:
                    noted.set()  # the answer before: its client asks again
                answered = True
            connection.sendall(answer())

    with bad_server(count) as url:
        command = [sys.executable, "-m", "sightline", "bench", url, "--image", str(photos)]
        with subprocess.Popen(
            [*command, "--duration", "10m", "--warm-up", "0", "--rate", "20"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert noted.wait(60)
            process.send_signal(signal.SIGINT)
            said, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "Ended by hand" in told
    assert "Traceback" not in told
    assert re.search(r"^200 ", said, re.MULTILINE)


def test_a_live_line_on_a_terminal_and_plain_lines_elsewhere(photos: Path) -> None:
    """Ended by Ctrl-C once it is there."""
    wide = os.environ | {"COLUMNS": "160", "TERM": "xterm"}
    ours, theirs = pty.openpty()
    with live() as server:
        command = [sys.executable, "-m", "sightline", "bench", server.url, "--image", str(photos)]
        command += ["--duration", "10s", "--warm-up", "0", "--rate", "20"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as plain:
            assert plain.stderr is not None
            assert any(re.match(r"\d+ of 10 s: [\d,]+ ended", line) for line in plain.stderr)
            plain.send_signal(signal.SIGINT)
            plain.communicate(timeout=60)
        with subprocess.Popen(command, stderr=theirs, env=wide) as shown:
            os.close(theirs)
            seen = b""
            while b" now" not in seen:
                seen += os.read(ours, 65536)
            shown.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # how Linux says that the other end has closed
                while chunk := os.read(ours, 65536):
                    seen += chunk
            os.close(ours)
    assert b"\x1b[" in seen
    assert plain.returncode == shown.returncode == 0


def test_an_engine_on_this_machine(photos: Path) -> None:
    done = bench(
        *("--engine", "any.onnx", "--image", photos, "--duration", "100ms", "--json", "-"),
        SIGHTLINE_ENGINE="fake",
        SIGHTLINE_RATE_LIMIT="1/hour",  # of other services: the one that is started is as it comes
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"over HTTP, 8 clients +[\d,.]+ ", done.stderr)
    limits = json.loads(done.stdout)["limits"]
    assert [len(limit["per_s"]) for limit in limits] == [3, 3, 3]


def test_the_service_that_it_starts_does_not_outlive_it(photos: Path) -> None:
    command = [sys.executable, "-m", "sightline", "bench", "--engine", "any.onnx"]
    with subprocess.Popen(
        [*command, "--image", str(photos), "--duration", "10m"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"SIGHTLINE_ENGINE": "fake"},
    ) as process:
        assert process.stderr is not None
        assert any("the network alone" in line for line in process.stderr)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert len(children) == 1
    assert not Path(f"/proc/{children[0]}").exists()


@pytest.mark.soak
def test_a_real_model_on_this_machine(shared: Path, yolov8n: Path) -> None:
    done = bench("--engine", yolov8n, "--image", shared / "photos", "--duration", "200ms")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("yolov8n with openvino on cpu, fp32")
