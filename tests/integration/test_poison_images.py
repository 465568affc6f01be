"""A picture that kills the process is found out, and harms no other for long."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from PIL import Image

from sightline.settings import load_settings
from sightline.tasks.task import ENDED
from sightline.wiring.tasks import open_tasks
from support import pictures
from support.commands import python
from support.processes import environment
from support.tasks import is_of, picture, submit

GREEN = pictures.encode(Image.new("RGB", (64, 64), (0, 255, 0)), "PNG")
SELF_KILL = 9
WORKER = f"""
import os, sys
from sightline.engines.fake import FakeEngine
from support.tasks import ended, place

infer = FakeEngine.infer

def die_of_green(self, images, **options):
    _, height, width, _ = images.shape
    if (images[:, height // 2, width // 2] == (0, 255, 0)).all(axis=1).any():
        os._exit({SELF_KILL})
    return infer(self, images, **options)

FakeEngine.infer = die_of_green
with place(sys.argv[1]) as here:
    ended(here.desk, sys.argv[2])
"""


def test_a_picture_that_kills_the_process_twice_alone_is_given_up(tmp_path: Path) -> None:
    desk = open_tasks(load_settings(engine="fake", data_dir=tmp_path))
    files = [picture(number) for number in range(30)]
    files[4] = GREEN
    task_id = submit(desk, files)
    codes: list[int] = []
    while desk.store.get(task_id).status not in ENDED:
        assert len(codes) < 5, codes
        path = environment()["PYTHONPATH"]
        done = python("-c", WORKER, tmp_path, task_id, PYTHONPATH=path)
        codes.append(done.returncode)
    # Once in company, whose fault it is unknown; twice alone.
    assert codes == [SELF_KILL] * 3 + [0]
    task = desk.store.get(task_id)
    desk.close()
    assert task.status == "completed"
    assert Counter(image.status for image in task.images) == {"completed": 29, "error": 1}
    failure = task.images[4].failure
    assert failure is not None
    assert failure.error == "PoisonImage"
    for image in task.images:
        assert image.index == 4 or (image.result and is_of(image.result, image.index))
