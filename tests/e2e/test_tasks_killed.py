"""`kill -9` in the middle of tasks: no image is lost, none is run into another's answer."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from sightline.settings import load_settings
from sightline.storage.schema import images
from sightline.tasks.desk import Desk
from sightline.tasks.task import ENDED, Image, Status, Task
from sightline.wiring import open_desk
from support.eventually import eventually
from support.processes import children
from support.servers import Process, serve
from support.tasks import ended, picture, require_right, submit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")

IMAGES = 100
ORDER: list[Status] = ["queued", "processing", "completed"]


class Watch:
    """Looks at tasks all the time: what has ended stays as it is, and no task goes back."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seen: dict[str, Task] = {}
        self._tasks: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.wrong: list[object] = []
        self.looks = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self.looks > 0
        assert not self.wrong

    def add(self, task_id: str) -> None:
        self._tasks.append(task_id)

    def done(self) -> int:
        return sum(task.done for task in list(self._seen.values()))

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.01):
                for task_id in self._tasks:
                    self._look(task_id)
        except Exception as error:  # noqa: BLE001  it is told at the end
            self.wrong.append(error)

    def _look(self, task_id: str) -> None:
        before, now = self._seen.get(task_id), self._desk.store.get(task_id)
        self._seen[task_id] = now
        self.looks += 1
        if before is None:
            return
        back = ORDER.index(now.status) < ORDER.index(before.status)
        if back or now.version < before.version:
            self.wrong.append((before, now))
        self.wrong += [
            pair for pair in zip(before.images, now.images, strict=True) if changed_its_end(*pair)
        ]


def changed_its_end(before: Image, now: Image) -> bool:
    return before.status in ENDED and before != now


@contextmanager
def opened(folder: Path) -> Iterator[Desk]:
    desk = open_desk(load_settings(engine="fake", data_dir=folder))
    try:
        yield desk
    finally:
        desk.close()


@contextmanager
def service(folder: Path, *arguments: str) -> Iterator[Process]:
    told = {"SIGHTLINE_DATA_DIR": str(folder)}
    with serve(["--engine", "fake", *arguments], environment=told) as running:
        # A pipe that nobody reads would hold it up.
        assert running.process.stdout is not None
        reader = threading.Thread(target=running.process.stdout.read, daemon=True)
        reader.start()
        yield running
        if running.process.poll() is None:
            running.process.kill()
        reader.join(20)


def survive(folder: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    tasks: list[str] = []
    files = [picture(number) for number in range(IMAGES)]
    with opened(folder) as desk, Watch(desk) as watch:

        def more() -> None:
            tasks.append(submit(desk, files))
            watch.add(tasks[-1])

        more()
        for _ in range(kills):
            if IMAGES * len(tasks) - watch.done() < IMAGES:
                more()
            wanted = watch.done() + chance.randrange(IMAGES - 20)
            with service(folder):
                eventually(lambda: watch.done() >= wanted, "work goes on")  # noqa: B023
                time.sleep(chance.random() / 50)  # anywhere between two looks
        with service(folder):
            for task_id in tasks:
                require_right(ended(desk, task_id, 60))


def test_five_kills(tmp_path: Path) -> None:
    survive(tmp_path, 5, seed=1)


@pytest.mark.soak
def test_two_hundred_kills(tmp_path: Path) -> None:
    survive(tmp_path, int(os.environ.get("SOAK_KILLS", "200")), seed=2)


def post(url: str, files: list[bytes], key: str) -> str:
    """Id of a task that is handed in over HTTP, with as many attempts as it takes."""
    parts = [("files", (f"{number}.png", data)) for number, data in enumerate(files)]
    taken: list[str] = []

    def attempt() -> bool:
        try:
            answer = httpx.post(
                f"{url}/predict", files=parts, headers={"Idempotency-Key": key}, timeout=20
            )
        except httpx.TransportError:
            return False  # a front end was killed, or is not there yet
        if answer.status_code == 201:
            taken.append(answer.json()["task_id"])
        else:
            assert answer.status_code == 503, answer.text
        return bool(taken)

    eventually(attempt, "it is taken", 40)
    return taken[0]


def process_of(service: Process, role: str) -> int:
    """Id of a process of a service with workers."""
    found = [pid for pid, line in children(service.process.pid) if line.endswith(role)]
    return found[0] if found else 0


def survive_with_workers(folder: Path, victims: list[str], seed: int) -> None:
    chance = random.Random(seed)
    files = [picture(number) for number in range(IMAGES)]
    tasks: list[str] = []
    with opened(folder) as desk, Watch(desk) as watch, ExitStack() as running:
        serving = running.enter_context(service(folder, "--workers", "3"))
        for number, victim in enumerate(victims):
            tasks.append(post(serving.url, files, f"{seed}-{number}"))
            watch.add(tasks[-1])
            wanted = watch.done() + chance.randrange(IMAGES - 20)
            eventually(lambda: watch.done() >= wanted, "work goes on")  # noqa: B023
            if victim == "supervisor":
                running.close()
                serving = running.enter_context(service(folder, "--workers", "3"))
                continue
            eventually(lambda: process_of(serving, victim), "it is there")  # noqa: B023
            os.kill(process_of(serving, victim), signal.SIGKILL)
        for task_id in tasks:
            require_right(ended(desk, task_id, 60))


@LINUX
def test_any_process_of_several_killed(tmp_path: Path) -> None:
    survive_with_workers(tmp_path, ["engine", "front", "supervisor"], seed=3)


@LINUX
@pytest.mark.soak
def test_any_process_of_several_killed_many_times(tmp_path: Path) -> None:
    victims = random.Random(4).choices(["engine", "front", "supervisor"], k=30)
    survive_with_workers(tmp_path, victims, seed=4)


def test_a_clean_end_in_the_middle_leaves_no_suspects(tmp_path: Path) -> None:
    with opened(tmp_path) as desk, Watch(desk) as watch:
        with service(tmp_path) as running:
            task_id = post(running.url, [picture(number) for number in range(IMAGES)], "a")
            watch.add(task_id)
            eventually(lambda: watch.done() >= 10, "work goes on")
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(30) == 0
        left = [image.status for image in desk.store.get(task_id).images]
        assert "processing" not in left
        with desk.database.read() as connection:
            assert not connection.execute(select(images).where(images.c.suspect)).all()
        with service(tmp_path):
            require_right(ended(desk, task_id, 60))
