"""Tasks whose pictures can be told apart by what is found in them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sightline import Detector
from sightline.serving.repository import Repository
from sightline.settings import Settings, load_settings
from sightline.tasks.processing import TaskProcessing
from sightline.tasks.services import TaskServices
from sightline.tasks.task import ENDED, NewImage, NewTask, Priority, Task
from sightline.wiring.models import open_repository
from sightline.wiring.tasks import open_processing, open_tasks
from support import pictures
from support.eventually import eventually

DARKEST = 140  # levels of grey below are not found, and 114 is what pads a picture


def picture(number: int, of_task: int = 0) -> bytes:
    """Grey: its width and its level say which of a task it is (0..99), its height of which."""
    level = DARKEST + number
    image = Image.new("RGB", (20 + number, 20 + of_task), (level, level, level))
    return pictures.encode(image, "PNG")


def is_of(result: dict[str, Any], number: int, of_task: int = 0) -> bool:
    """Whether `result` is what the fake engine sees in that picture."""
    found = result["detections"]
    return (
        result["image"] == {"width": 20 + number, "height": 20 + of_task}
        and len(found) == 1
        and abs(found[0]["confidence"] - (DARKEST + number) / 255) < 0.002
    )


def keep(desk: TaskServices, task_id: str, files: Sequence[bytes]) -> tuple[NewImage, ...]:
    """The images of a task, with their blobs written."""
    images = []
    for number, data in enumerate(files):
        key = f"{task_id}/{number}"
        blob = desk.blobs.create(key)
        blob.write(data)
        blob.finish()
        images.append(NewImage(f"{number}.png", key, size=len(data)))
    return tuple(images)


def submit(
    desk: TaskServices,
    files: Sequence[bytes],
    priority: Priority = "normal",
    options: dict[str, Any] | None = None,
) -> str:
    """Id of a new task with these pictures."""
    task_id = uuid.uuid4().hex
    images = keep(desk, task_id, files)
    return desk.store.submit(NewTask(task_id, "", images, options or {}, priority)).id


def submit_urls(desk: TaskServices, urls: Sequence[str]) -> str:
    """Id of a new task whose pictures lie at these addresses."""
    images = tuple(NewImage(url[-200:], url=url) for url in urls)
    return desk.store.submit(NewTask(uuid.uuid4().hex, "", images, {})).id


def ended(desk: TaskServices, task_id: str, within: float = 60) -> Task:
    """The task, once it has ended."""
    eventually(lambda: desk.store.get(task_id).status in ENDED, "the task ends", within)
    return desk.store.get(task_id)


def require_right(task: Task, of_task: int = 0) -> None:
    """Every image is completed, with its own picture's answer."""
    assert task.status == "completed"
    for image in task.images:
        assert image.status == "completed", image
        assert image.result is not None
        assert is_of(image.result, image.index, of_task), image


@dataclass
class Place:
    """Tasks and what works on them, in this process."""

    settings: Settings
    desk: TaskServices
    repository: Repository
    workshop: TaskProcessing

    @property
    def detector(self) -> Detector:
        served = self.repository.slots()[0].loaded
        assert served is not None
        return served.detector

    @property
    def engine(self) -> Any:
        return self.detector._engine

    def submit(self, files: Sequence[bytes], priority: Priority = "normal", **options: Any) -> str:
        task_id = submit(self.desk, files, priority, options)
        self.workshop.wake()
        return task_id

    def submit_urls(self, *urls: str) -> str:
        task_id = submit_urls(self.desk, urls)
        self.workshop.wake()
        return task_id

    def ended(self, task_id: str, within: float = 60) -> Task:
        return ended(self.desk, task_id, within)


@contextmanager
def place(folder: Path | str, **options: Any) -> Iterator[Place]:
    settings = load_settings(engine="fake", data_dir=folder, **options)
    desk = open_tasks(settings)
    repository = open_repository(settings)
    workshop = open_processing(settings, repository, desk)
    workshop.start()
    try:
        yield Place(settings, desk, repository, workshop)
    finally:
        workshop.close()
        repository.close()
        desk.close()
