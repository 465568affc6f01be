"""`sightline serve --workers 3`, and what happens when what dies."""

from __future__ import annotations

import http.client
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from support import pictures
from support.commands import sightline
from support.eventually import eventually
from support.problems import problem
from support.processes import children, connections
from support.servers import Process, live, serve
from support.tasks import ended, picture, require_right
from support.watching import Watch, opened, post

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
ADMIN = {"Authorization": "Bearer the-boss"}
WORKERS = 3

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")


@dataclass
class Service:
    """A running service, and its processes."""

    running: Process
    folder: Path
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.running.url
        self.port = int(self.url.rpartition(":")[2])
        self.pid = self.running.process.pid
        # A pipe that nobody reads would cost log lines.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.running.process.stdout is not None
        self.lines.extend(self.running.process.stdout)

    def said(self, pattern: str) -> int:
        """How many of its lines have `pattern` in them."""
        lines = [*self.running.said.splitlines(), *self.lines]
        return sum(bool(re.search(pattern, line)) for line in lines)

    @property
    def engine(self) -> int:
        return next(pid for pid, line in children(self.pid) if line.endswith("engine"))

    @property
    def fronts(self) -> list[int]:
        return [pid for pid, line in children(self.pid) if line.endswith("front")]

    def files(self) -> list[Path]:
        """What it has left among the temporary files."""
        return list((self.folder / "temporary").iterdir())

    def ready(self) -> int:
        return httpx.get(f"{self.url}/health/ready").status_code

    def stop(self) -> int:
        """Its exit code, once all of it has ended."""
        self.running.process.send_signal(signal.SIGTERM)
        code = self.running.process.wait(60)
        self._reader.join(60)
        return code


@contextmanager
def service(folder: Path, **environment: str) -> Iterator[Service]:
    (folder / "temporary").mkdir(exist_ok=True)
    told = {
        "SIGHTLINE_DATA_DIR": str(folder / "data"),
        "SIGHTLINE_ADMIN_KEY": "the-boss",
        "SIGHTLINE_MODELS_FOLDER": str(folder),
        "TMPDIR": str(folder / "temporary"),
    } | environment
    arguments = ["--engine", "fake", "--workers", str(WORKERS)]
    with serve(arguments, environment=told) as running:
        started = Service(running, folder)
        eventually(lambda: started.said("startup complete") == WORKERS, "all front ends are there")
        yield started
        if started.running.process.poll() is None:
            assert started.stop() == 0, started.lines


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("workers")) as running:
        yield running


@pytest.fixture
def running(shared_service: Service) -> Service:
    """The same for all, and well at the start of each test."""
    eventually(lambda: shared_service.ready() == 200, "it is ready")
    eventually(lambda: len(shared_service.fronts) == WORKERS, "all front ends are there")
    return shared_service


class Client:
    """One connection, which is kept."""

    def __init__(self, service: Service) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        self._connection.connect()
        self.port: int = self._connection.sock.getsockname()[1]

    def ask(
        self, body: bytes = GOOD, path: str = "/detect", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        self.send(body, path, headers)
        return self.receive()

    def send(
        self, body: bytes = GOOD, path: str = "/detect", headers: dict[str, str] | None = None
    ) -> None:
        self._connection.request("POST", path, body, headers or {})

    def receive(self) -> httpx.Response:
        answer = self._connection.getresponse()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())

    def close(self) -> None:
        self._connection.close()


@contextmanager
def clients_of_each_front(
    service: Service, headers: dict[str, str] | None = None, each: int = 1
) -> Iterator[dict[int, list[Client]]]:
    """Connections that are kept, by the front end that has them; each has so many, or more."""
    opened: list[Client] = []
    found: dict[int, list[Client]] = {}

    def connect() -> bool:
        client = Client(service)
        opened.append(client)
        client.ask(headers=headers)
        for pid in service.fronts:
            ports = connections(pid, service.port)
            found[pid] = [client for client in opened if client.port in ports]
        return all(len(clients) >= each for clients in found.values())

    try:
        eventually(connect, "each front end takes connections")
        yield found
    finally:
        for client in opened:
            client.close()


class Load:
    """Clients that keep asking, each on one connection for as long as it lasts.

    Attributes:
        answers: of each client.
        broken: how often its connection ended.
        first: its first connection, which a front end has taken.
    """

    def __init__(self, service: Service, clients: int) -> None:
        self.first = {number: Client(service) for number in range(clients)}
        self.answers = {number: [client.ask()] for number, client in self.first.items()}
        self.broken = Counter[int]()
        self._service = service
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "it hangs"

    def wait_for_more(self) -> None:
        """Two answers for each client: the second is one to what it asked meanwhile."""
        before = {number: len(answers) for number, answers in self.answers.items()}
        eventually(
            lambda: all(len(self.answers[n]) >= had + 2 for n, had in before.items()),
            "answers come",
        )

    def latest(self) -> set[int]:
        return {answers[-1].status_code for answers in self.answers.values()}

    def statuses(self) -> set[int]:
        return {answer.status_code for answers in self.answers.values() for answer in answers}

    def _ask(self, number: int) -> None:
        client = self.first[number]
        while not self._stop.is_set():
            try:
                self.answers[number].append(client.ask())
            except (OSError, http.client.HTTPException):
                self.broken[number] += 1
                client.close()
                client = Client(self._service)
        client.close()


def without_times(answer: httpx.Response) -> Any:
    if answer.headers["content-type"] == "image/jpeg":
        return answer.content
    body = answer.json()
    for name in ("inference_time_ms", "fps", "timing"):
        body.pop(name, None)
    return body


REQUESTS: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "json": ("/detect", GOOD, {}),
    "options": ("/detect?confidence=0.1&classes=bright,1&max_detections=3&iou=0.2", GOOD, {}),
    "drawn": ("/detect", GOOD, {"accept": "image/jpeg"}),
    "png": ("/detect", pictures.png(), {}),
    "text": ("/detect", b"this is a text and no picture", {}),
    "broken": ("/detect", GOOD[:-50], {}),
    "empty": ("/detect", b"", {}),
    "class": ("/detect?classes=brigth", GOOD, {}),
    "option": ("/detect?confidence=2", GOOD, {}),
    "model": ("/detect?model=other", GOOD, {}),
    "pixels": ("/detect", pictures.bare_png(9000, 9000), {}),
    "bytes": ("/detect", GOOD + bytes(11_000_000), {}),
    "deadline": ("/detect", GOOD, {"x-timeout-ms": "0"}),
}


@pytest.fixture(scope="module")
def alone() -> Iterator[str]:
    """The same in one process."""
    with live() as server:
        yield server.url


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_those_of_one_process(running: Service, alone: str, name: str) -> None:
    path, body, headers = REQUESTS[name]
    ours, theirs = (
        httpx.post(f"{url}{path}", content=body, headers=headers) for url in (running.url, alone)
    )
    assert ours.status_code == theirs.status_code
    assert without_times(ours) == without_times(theirs)
    changing = {"date", "x-request-id", "content-length"}
    assert set(ours.headers.items()) - {(n, ours.headers.get(n)) for n in changing} == set(
        theirs.headers.items()
    ) - {(n, theirs.headers.get(n)) for n in changing}


def test_health_is_that_of_one_process(running: Service, alone: str) -> None:
    for path in ("/health", "/health/live", "/health/ready", "/models", "/openapi.json"):
        assert httpx.get(running.url + path).json() == httpx.get(alone + path).json(), path
    assert f"{WORKERS} front-end processes" in running.running.said


def test_a_swap_is_seen_by_all(running: Service) -> None:
    def put(source: str) -> httpx.Response:
        return httpx.put(f"{running.url}/models/other", json={"source": source}, headers=ADMIN)

    problem(put("/elsewhere/other.onnx"), 403, "not-allowed")
    assert put(f"{running.folder}/other.onnx").json()["loaded"]
    with clients_of_each_front(running) as by_front:
        for clients in by_front.values():
            assert clients[0].ask(path="/detect?model=other").json()["model"] == "other"
        assert httpx.delete(f"{running.url}/models/other", headers=ADMIN).status_code == 204
        for clients in by_front.values():
            problem(clients[0].ask(path="/detect?model=other"), 422, "bad-option")


def test_keys_are_not_in_any_command_line(running: Service) -> None:
    assert "the-boss" not in " ".join(line for _, line in children(running.pid))


def test_a_front_end_that_is_killed_takes_its_own_connections_with_it_and_no_others(
    running: Service,
) -> None:
    with Load(running, 12) as load:
        held = {pid: connections(pid, running.port) for pid in running.fronts}
        victim = max(held, key=lambda pid: len(held[pid]))
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in running.fronts, "it is dead")
        eventually(lambda: len(running.fronts) == WORKERS, "another took its place")
        load.wait_for_more()
    assert load.statuses() == {200}
    lost = {number for number, client in load.first.items() if client.port in held[victim]}
    assert lost
    assert load.broken == Counter(dict.fromkeys(lost, 1))
    said = rf"front end \d \(process {victim}\) was killed by SIGKILL"
    eventually(lambda: running.said(said), "it is told")


def test_an_engine_process_that_is_killed_is_a_503_until_another_is_there(
    running: Service,
) -> None:
    victim = running.engine
    with Load(running, 8) as load:
        os.kill(running.pid, signal.SIGSTOP)  # until all have seen that there is no engine process
        try:
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: running.ready() == 503, "it is not ready")
            assert httpx.get(f"{running.url}/health/live").status_code == 200
            eventually(lambda: load.latest() == {503}, "all are refused")
        finally:
            os.kill(running.pid, signal.SIGCONT)
        eventually(lambda: running.ready() == 200, "it is ready again")
        eventually(lambda: load.latest() == {200}, "all are answered again")
    assert load.statuses() == {200, 503}
    for answer in itertools.chain(*load.answers.values()):
        if answer.status_code == 503:
            problem(answer, 503, "not-serving")
    assert not load.broken, "no connection is lost"
    said = rf"the engine process \(process {victim}\) was killed by SIGKILL"
    eventually(lambda: running.said(said), "it is told")
    assert running.engine != victim


def test_a_request_that_the_engine_process_had_is_a_503_when_it_dies(running: Service) -> None:
    victim = running.engine
    with clients_of_each_front(running, each=2) as by_front:
        asking, late, *_ = next(iter(by_front.values()))
        os.kill(victim, signal.SIGSTOP)
        asking.send()
        # The same front end has this one later: by its end, the engine process has the other.
        problem(late.ask(headers={"x-timeout-ms": "200"}), 504, "deadline-exceeded")
        os.kill(victim, signal.SIGKILL)
        assert "ended meanwhile" in problem(asking.receive(), 503, "not-serving")["detail"]


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("victim", ["engine", "front"])
def test_tasks_outlive_each_process(running: Service, victim: str) -> None:
    files = [picture(number) for number in range(100)]
    begun = running.said("startup complete")
    with opened(running.folder / "data") as desk, Watch(desk) as watch:
        task_id = post(running.url, files, f"before a death of the {victim}")
        watch.add(task_id)
        eventually(lambda: watch.done() >= 20, "work goes on")
        os.kill(running.engine if victim == "engine" else running.fronts[0], signal.SIGKILL)
        after = post(running.url, files[:5], f"after a death of the {victim}")
        require_right(ended(desk, task_id))
        require_right(ended(desk, after))
    if victim == "front":
        eventually(lambda: running.said("startup complete") > begun, "another takes its place")


def test_a_stop_answers_what_was_accepted(running: Service) -> None:
    """The last that uses the service."""
    engine, processes = running.engine, children(running.pid)

    def go_on() -> None:
        eventually(lambda: running.said("Shutting down") == WORKERS, "all have begun to stop")
        os.kill(engine, signal.SIGCONT)

    with clients_of_each_front(running, each=2) as by_front:
        os.kill(engine, signal.SIGSTOP)
        clients = list(itertools.chain(*by_front.values()))
        for client in clients:
            client.send()
        going_on = threading.Thread(target=go_on)
        going_on.start()
        assert running.stop() == 0
        going_on.join()
        assert {client.receive().status_code for client in clients} == {200}
    assert not any(_lives(pid) for pid, _ in processes)
    assert running.files() == []
    assert not running.said("Traceback|never retrieved")


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    options = {"SIGHTLINE_RATE_LIMIT": "40/hour", "SIGHTLINE_API_KEYS": "bob:secret,ann:third"}
    with service(tmp_path_factory.mktemp("limited"), **options) as running:
        yield running


def test_limits_are_shared(limited: Service) -> None:
    with clients_of_each_front(limited, {"X-API-Key": "third"}) as by_front:
        assert len(by_front) == WORKERS
        clients = [clients[0] for clients in by_front.values()]
        headers = {"X-API-Key": "secret"}
        statuses = [
            clients[number % WORKERS].ask(headers=headers).status_code for number in range(50)
        ]
    assert statuses == [200] * 40 + [429] * 10


def test_when_the_supervisor_is_killed_nothing_is_left(limited: Service) -> None:
    """The last that uses the service."""
    processes = children(limited.pid)
    assert len(processes) == WORKERS + 1
    os.kill(limited.pid, signal.SIGKILL)
    limited.running.process.wait(60)
    eventually(lambda: not any(_lives(pid) for pid, _ in processes), "all have ended")
    assert limited.files() == []


def test_ctrl_c_ends_it_while_it_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sightline", "serve", "--engine", "fake", "--port", "0"]
    process = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.PIPE, text=True)
    eventually(lambda: children(process.pid), "the engine process is started")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "junk.onnx"], "junk.onnx is not a readable ONNX file"),
        (["--engine", "fake", "--device", "banana"], "unknown device 'banana'"),
        (["--engine", "fake", "--workers", "65"], "option 'workers'"),
    ],
)
def test_what_cannot_start_says_why_on_one_line(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"\x08junk")
    done = sightline("serve", "--port", "0", "--workers", "2", *arguments)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
