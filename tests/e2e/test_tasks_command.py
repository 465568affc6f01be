"""`sightline tasks` as somebody at a terminal meets it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sightline.cli import main
from support import pictures
from support.bad_servers import answer, bad_server, read_request
from support.eventually import eventually
from support.predict import stuck
from support.servers import Live, live

if TYPE_CHECKING:
    import socket

KEY = "open-sesame-open-sesame"
ADMIN = "the-admin-has-a-key-too"

Done = subprocess.CompletedProcess


Run = Callable[..., Done[str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`sightline tasks` with these arguments and this environment, in this process."""

    def call(*arguments: str, **environment: str) -> Done[str]:
        command = ["sightline", "tasks", *arguments]
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", command)
            for name, value in environment.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        said = capsys.readouterr()
        return Done(command, int(ended.value.code or 0), said.out, said.err)

    return call


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live(api_keys=f"me:{KEY}", admin_key=ADMIN) as running:
        yield running


def submit(server: Live, *names: str) -> str:
    """A task of pictures with these names; one that ends in .txt is none."""
    files = [
        ("files", (name, b"no picture" if name.endswith(".txt") else pictures.jpeg()))
        for name in names
    ]
    headers = {"Authorization": f"Bearer {KEY}"}
    done = httpx.post(f"{server.url}/predict", files=files, headers=headers)
    assert done.status_code == 201, done.text
    return str(done.json()["task_id"])


def test_watching_a_task_until_it_ends(server: Live, run: Run) -> None:
    task_id = submit(server, "a.jpg", "b\x1b[31m.txt")
    done = run("watch", task_id, "--url", server.url, "--key", KEY)
    assert done.returncode == 1, "one of its pictures failed"
    assert "completed: 2 of 2, 1 failed" in done.stderr.splitlines()
    first, *_ = done.stdout.splitlines()
    assert first == f"{task_id}  completed: 2 of 2, 1 failed"
    (good,) = [line for line in done.stdout.splitlines() if "a.jpg" in line]
    assert good.split()[:3] == ["0", "a.jpg", "completed"]
    assert "\x1b" not in done.stdout
    assert "not a picture that can be read" in done.stdout
    shown = run("show", task_id, "--url", server.url, "--json", SIGHTLINE_KEY=KEY)
    assert json.loads(shown.stdout)["progress"] == {"done": 2, "total": 2, "failed": 1}
    lines = run("watch", task_id, "--url", server.url, "--key", KEY, "--json").stdout.splitlines()
    assert json.loads(lines[-1])["status"] == "completed"


def test_the_queue_at_a_glance(server: Live, run: Run) -> None:
    task_id = submit(server, "a.jpg")
    assert run("watch", task_id, "--url", server.url, "--key", KEY).returncode == 0
    admin = ("list", "--url", f"{server.url}/", "--key", ADMIN)
    # A glance is good for a second.
    eventually(lambda: f"\n  {task_id}" in run(*admin).stdout, "the task is in the glance")
    mine = run("list", "--url", server.url, SIGHTLINE_API_KEY=KEY)
    assert "completed" in mine.stdout
    assert task_id not in mine.stdout
    told = json.loads(run("list", "--url", server.url, "--key", ADMIN, "--json").stdout)
    assert task_id in told["ids"]


def test_trying_again_and_forgetting(server: Live, run: Run) -> None:
    task_id = submit(server, "a.jpg")
    run("watch", task_id, "--url", server.url, "--key", KEY)
    again = run("retry", task_id, "--url", server.url, "--key", KEY)
    assert again.stdout == f"{task_id} is completed\n"
    kept = run("cancel", task_id, "--url", server.url, "--key", KEY)
    assert kept.returncode == 2
    assert "nothing to cancel: it is completed" in kept.stderr
    gone = run("cancel", task_id, "--forget", "--url", server.url, "--key", KEY)
    assert gone.stdout == f"{task_id} is forgotten\n"
    late = run("show", task_id, "--url", server.url, "--key", KEY)
    assert late.returncode == 2
    assert "expired" in late.stderr


def test_cancelling(server: Live, run: Run) -> None:
    with stuck(server):
        task_id = submit(server, *(f"{number}.jpg" for number in range(20)))
        done = run("cancel", task_id, "--url", server.url, "--key", KEY)
    assert done.stdout == f"{task_id} is cancelled\n"
    assert run("watch", task_id, "--url", server.url, "--key", KEY).returncode == 1


def test_a_table_on_a_terminal(server: Live, run: Run) -> None:
    task_id = submit(server, "a.jpg")
    run("watch", task_id, "--url", server.url, "--key", KEY)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sightline", "tasks", "show", task_id]
    with subprocess.Popen(
        [*command, "--url", server.url, "--key", KEY],
        stdout=theirs,
        env=os.environ | {"COLUMNS": "120", "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end has closed
            while chunk := os.read(ours, 65536):
                seen += chunk
        os.close(ours)
    assert process.returncode == 0
    assert "┃" in seen.decode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--url", "http://127.0.0.1:9"], "Is the service up"),
        (["list", "--url", "127.0.0.1:8000"], "write http://host:port"),
        (["show", "x" * 32], "--key or SIGHTLINE_KEY"),
        (["show", "0" * 32, "--key", KEY], "There is no task"),
        (["list", "--url", "http://127.0.0.1:bad"], "nothing answers"),
    ],
)
def test_what_can_go_wrong_is_one_clear_line(
    server: Live, run: Run, arguments: list[str], message: str
) -> None:
    done = run(*arguments, SIGHTLINE_URL=server.url)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_watching_goes_on_while_the_service_is_away(run: Run) -> None:
    """A 503 first, one in the middle, a gateway's error page, and a connection that breaks."""
    state: dict[str, Any] = {
        "task_id": "0" * 32,
        "status": "processing",
        "progress": {"done": 0, "total": 1, "failed": 0},
        "results": [],
    }
    done = state | {"status": "completed", "progress": {"done": 1, "total": 1, "failed": 0}}
    refused = json.dumps({"detail": "Too much waits."}).encode()
    answers = [
        answer("503 Service Unavailable", refused, "Retry-After: 1"),
        answer("200 OK", json.dumps(state).encode(), 'ETag: "1"'),
        answer("503 Service Unavailable", refused, "Retry-After: 1"),
        answer("502 Bad Gateway", b"<html>"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        answer("200 OK", json.dumps(done).encode(), 'ETag: "2"'),
    ]

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answers.pop(0))

    with bad_server(behave) as url:
        watched = run("watch", "0" * 32, "--url", url)
    assert not answers, "it asked again and again"
    assert watched.returncode == 0, watched.stderr
    assert "waiting: Too much waits." in watched.stderr
    assert watched.stdout.startswith(f"{'0' * 32}  completed")


def test_watching_ends_after_its_retry_timeout(run: Run) -> None:
    asked = threading.Semaphore(0)

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        asked.release()
        connection.sendall(
            answer("503 Service Unavailable", b'{"detail": "Too much."}', "Retry-After: 9")
        )

    with bad_server(behave) as url:
        watched = run("watch", "0" * 32, "--url", url, "--patience", "0.3")
    assert watched.returncode == 2
    assert watched.stderr.splitlines()[-1] == "error: Too much."
    assert asked.acquire(timeout=0)
    assert asked.acquire(timeout=0), "it asked once more at the end"


def test_another_service_is_told_as_such(run: Run) -> None:
    def behave(connection: object) -> None:
        read_request(connection)  # type: ignore[arg-type]
        connection.sendall(answer(body=b"<html>"))  # type: ignore[attr-defined]

    with bad_server(behave) as url:
        done = run("list", "--url", url)
    assert "not as Sightline does" in done.stderr
