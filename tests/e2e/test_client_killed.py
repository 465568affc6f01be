"""A client whose service is killed and started again in the middle: it gets all of its results."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from sightline.client import Progress, Result
from support import pictures
from support.clients import Kind, client_of
from support.servers import Process, serve
from support.tasks import DARKEST, picture
from support.watching import KEPT, opened

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

IMAGES = 100


class Mortal:
    """`sightline serve` on one port and one folder, through all of its lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {"SIGHTLINE_DATA_DIR": str(folder), "SIGHTLINE_RESULT_TTL": str(KEPT)}
        self._lives = 0
        self._over = threading.Event()
        self._started = threading.Event()
        self._restarter = threading.Thread(target=self._keep)
        self._now: Process
        self.url = ""

    def __enter__(self) -> Mortal:
        self._restarter.start()
        assert self._started.wait(120)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.kill()
        self._restarter.join(120)

    def kill(self) -> None:
        """It starts again by itself."""
        self._started.clear()
        self._now.process.send_signal(signal.SIGKILL)

    @property
    def lives(self) -> int:
        """How often it was started, once it is up."""
        assert self._started.wait(120)
        return self._lives

    def _keep(self) -> None:
        port = "0"
        while not self._over.is_set():
            arguments = ["--engine", "fake", "--port", port, "--confidence", "0.1"]
            with serve(arguments, environment=self._environment) as self._now:
                self.url, self._lives = self._now.url, self._lives + 1
                port = self.url.rpartition(":")[2]
                self._started.set()
                if self._over.is_set():
                    self.kill()
                assert self._now.process.stdout is not None
                self._now.process.stdout.read()  # until it is dead


@pytest.fixture(params=["sync", pytest.param("async", marks=pytest.mark.soak)])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    with Mortal(tmp_path_factory.mktemp("kept")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(IMAGES):
        (photos / f"{number:03}.png").write_bytes(picture(number))
    return photos


def require_right(results: list[Result]) -> None:
    """A hundred answers, each its own picture's."""
    assert [result.index for result in results] == list(range(IMAGES))
    for result in results:
        found = result.detections
        assert (found.width, found.height) == (20 + result.index, 20), result
        assert abs(found.confidence[0] - (DARKEST + result.index) / 255) < 0.002, result
        assert result.filename == f"{result.index:03}.png"


def tasks_in(folder: Path) -> int:
    with opened(folder) as services:
        return sum(services.store.glance().statuses.values())


@contextmanager
def one_task_more(mortal: Mortal) -> Iterator[None]:
    before = tasks_in(mortal.folder)
    yield
    assert tasks_in(mortal.folder) == before + 1


def test_killed_while_it_works(kind: Kind, mortal: Mortal, folder: Path) -> None:
    lives = mortal.lives
    chance = random.Random(f"{kind} 1")
    wanted = [chance.randrange(5, 45), chance.randrange(50, 95)]

    def kill(now: Progress) -> None:
        if wanted and now.done >= wanted[0]:
            wanted.pop(0)
            mortal.kill()

    with one_task_more(mortal), client_of(kind, mortal.url, patience=300) as client:
        require_right(client.submit(folder).wait(300, kill))
        assert mortal.lives > lives


def test_killed_while_results_are_awaited_without_news(
    kind: Kind, mortal: Mortal, folder: Path
) -> None:
    with client_of(kind, mortal.url, patience=300) as client:
        handle = client.submit(folder)
        mortal.kill()
        require_right(handle.wait(300))


class Fatal(BytesIO):
    """A picture that the service does not live to see, the first time."""

    def __init__(self, data: bytes, name: str, mortal: Mortal) -> None:
        super().__init__(data)
        self.name = name
        self._mortal: Mortal | None = mortal

    def read(self, size: int | None = -1) -> bytes:
        if size and self._mortal is not None:
            self._mortal.kill()
            self._mortal = None
        return super().read(size)


def weighty(data: bytes) -> bytes:
    """A PNG with a comment of 300 KB: it takes a while to send."""
    return data[:-12] + pictures.chunk(b"tEXt", b"Comment\0" + b"x" * 300_000) + data[-12:]


def test_killed_during_the_upload(kind: Kind, mortal: Mortal, folder: Path) -> None:
    """The upload that is cut off leaves no task."""
    lives = mortal.lives
    images: list[Any] = sorted(folder.iterdir())
    for path in images:
        path.write_bytes(weighty(path.read_bytes()))
    number = random.Random(f"{kind} 2").randrange(10, IMAGES)
    images[number] = Fatal(images[number].read_bytes(), images[number].name, mortal)
    with one_task_more(mortal), client_of(kind, mortal.url, patience=300) as client:
        require_right(client.submit(images).wait(300))
        assert mortal.lives == lives + 1


def killed_at_any_moment(kind: Kind, mortal: Mortal, folder: Path, seed: str) -> None:
    """Once in the two seconds after it has begun: while it uploads, is answered, works, waits."""
    timer = threading.Timer(random.Random(seed).uniform(0, 2), mortal.kill)
    with client_of(kind, mortal.url, patience=300) as client:
        timer.start()
        require_right(client.submit(folder).wait(300))
    timer.join()
    with client_of(kind, mortal.url, patience=300) as client:
        assert client.detect(picture(1)).detections, "it is up for the next"


def test_killed_at_any_moment(kind: Kind, mortal: Mortal, folder: Path) -> None:
    killed_at_any_moment(kind, mortal, folder, f"{kind} 3")


@pytest.mark.soak
def test_killed_at_many_moments(kind: Kind, mortal: Mortal, folder: Path) -> None:
    for number in range(int(os.environ.get("SOAK_KILLS", "30"))):
        with one_task_more(mortal):
            killed_at_any_moment(kind, mortal, folder, f"{kind} {number}")
