"""`kill -9` in the middle of tasks: no image is lost, none gets another's answer.

The same for one of several processes is in test_workers.py.
"""

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

import pytest
from sqlalchemy import select

from sightline.storage.schema import images
from support.eventually import eventually
from support.processes import children
from support.servers import Process, serve
from support.tasks import ended, picture, require_right, submit
from support.watching import KEPT, Watch, opened, post

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")

IMAGES = 100


@contextmanager
def service(folder: Path, *arguments: str) -> Iterator[Process]:
    told = {"SIGHTLINE_DATA_DIR": str(folder), "SIGHTLINE_RESULT_TTL": str(KEPT)}
    with serve(["--engine", "fake", *arguments], environment=told) as running:
        # A pipe that nobody reads would hold it up.
        assert running.process.stdout is not None
        reader = threading.Thread(target=running.process.stdout.read, daemon=True)
        reader.start()
        yield running
        if running.process.poll() is None:
            running.process.kill()
        reader.join(60)


def survive(folder: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    tasks: list[str] = []
    files = [picture(number) for number in range(IMAGES)]
    with opened(folder) as services, Watch(services) as watch:

        def more() -> None:
            tasks.append(submit(services, files))
            watch.add(tasks[-1])

        more()
        for _ in range(kills):
            # Not what the watch saw last: who dies twice at once of the same image condemns it.
            done = sum(services.store.get(task_id).done for task_id in tasks)
            if IMAGES * len(tasks) - done < IMAGES:
                more()
            wanted = done + chance.randrange(IMAGES - 20)
            with service(folder):
                eventually(lambda: watch.done() >= wanted, "work goes on")  # noqa: B023
                time.sleep(chance.random() / 50)  # anywhere between two looks
        with service(folder):
            for task_id in tasks:
                require_right(ended(services, task_id, 60))


def test_five_kills(tmp_path: Path) -> None:
    survive(tmp_path, 5, seed=1)


@pytest.mark.soak
def test_two_hundred_kills(tmp_path: Path) -> None:
    survive(tmp_path, int(os.environ.get("SOAK_KILLS", "200")), seed=2)


def process_of(service: Process, role: str) -> int:
    """Id of a process of a service with workers."""
    found = [pid for pid, line in children(service.process.pid) if line.endswith(role)]
    return found[0] if found else 0


def survive_with_workers(folder: Path, victims: list[str], seed: int) -> None:
    chance = random.Random(seed)
    files = [picture(number) for number in range(IMAGES)]
    tasks: list[str] = []
    with opened(folder) as services, Watch(services) as watch, ExitStack() as running:
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
            require_right(ended(services, task_id, 60))


@LINUX
@pytest.mark.soak
def test_any_process_of_several_killed_many_times(tmp_path: Path) -> None:
    kills = int(os.environ.get("SOAK_KILLS", "30"))
    victims = random.Random(4).choices(["engine", "front", "supervisor"], k=kills)
    survive_with_workers(tmp_path, victims, seed=4)


def test_a_clean_end_in_the_middle_quarantines_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as services, Watch(services) as watch:
        with service(tmp_path) as running:
            task_id = post(running.url, [picture(number) for number in range(IMAGES)], "a")
            watch.add(task_id)
            eventually(lambda: watch.done() >= 10, "work goes on")
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(60) == 0
        left = [image.status for image in services.store.get(task_id).images]
        assert "processing" not in left
        with services.database.read() as connection:
            assert not connection.execute(select(images).where(images.c.quarantined)).all()
        with service(tmp_path):
            require_right(ended(services, task_id, 60))
