"""Tasks are worked on: each image once, in its turn, whatever is wrong with others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.tasks import Place, picture, place, require_right


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as opened:
        yield opened


def test_every_image_gets_its_own_answer(here: Place) -> None:
    tasks = [here.submit([picture(n, t) for n in range(100)]) for t in range(3)]
    for number, task_id in enumerate(tasks):
        require_right(here.ended(task_id), number)


def test_a_broken_image_fails_alone_and_at_once(here: Place) -> None:
    task = here.ended(here.submit([picture(0), b"no picture at all", picture(2)], confidence=0.1))
    assert [image.status for image in task.images] == ["completed", "error", "completed"]
    assert task.status == "completed"
    failure = task.images[1].failure
    assert failure is not None
    assert failure.error == "UnsupportedImage"
    assert task.images[1].attempts == 1


def test_memory_alone_will_do() -> None:
    with place(":memory:") as here:
        require_right(here.ended(here.submit([picture(n) for n in range(10)])))
    assert not Path(":memory:").exists()
