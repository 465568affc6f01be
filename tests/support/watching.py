"""Looks at tasks from outside, while the service that works on them comes and goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from sightline.settings import load_settings
from sightline.tasks.services import TaskServices
from sightline.tasks.task import ENDED, Image, Status, Task
from sightline.wiring.tasks import open_tasks
from support.eventually import eventually

KEPT = 86_400  # seconds; longer than any test takes
ORDER: list[Status] = ["queued", "processing", "completed"]


class Watch:
    """Looks at tasks all the time: what has ended stays as it is, and no task goes back."""

    def __init__(self, desk: TaskServices) -> None:
        self._desk = desk
        self._seen: dict[str, Task] = {}
        self._tasks: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.wrong: list[object] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for task_id in self._tasks:
            self._look(task_id)
        assert not self.wrong

    def add(self, task_id: str) -> None:
        self._tasks.append(task_id)

    def done(self) -> int:
        return sum(task.done for task in list(self._seen.values()))

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.01):
                for task_id in self._tasks:
                    seen = self._seen.get(task_id)
                    if seen is None or seen.status not in ENDED:
                        self._look(task_id)
        except Exception as error:  # noqa: BLE001  it is told at the end
            self.wrong.append(error)

    def _look(self, task_id: str) -> None:
        before, now = self._seen.get(task_id), self._desk.store.get(task_id)
        self._seen[task_id] = now
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
def opened(folder: Path) -> Iterator[TaskServices]:
    desk = open_tasks(load_settings(engine="fake", data_dir=folder, result_ttl=KEPT))
    try:
        yield desk
    finally:
        desk.close()


def post(url: str, files: list[bytes], key: str) -> str:
    """Id of a task that is handed in over HTTP, with as many attempts as it takes."""
    parts = [("files", (f"{number}.png", data)) for number, data in enumerate(files)]
    taken: list[str] = []

    def attempt() -> bool:
        try:
            answer = httpx.post(
                f"{url}/predict", files=parts, headers={"Idempotency-Key": key}, timeout=60
            )
        except httpx.TransportError:
            return False  # a front end was killed, or is not there yet
        if answer.status_code == 201:
            taken.append(answer.json()["task_id"])
        else:
            assert answer.status_code == 503, answer.text
        return bool(taken)

    eventually(attempt, "it is taken", 120)
    return taken[0]
