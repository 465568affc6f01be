"""What a worker does while nothing can be written: it waits, loses nothing, and goes on."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from sightline.errors import StorageUnavailable
from sightline.net.connect import Resolver
from sightline.net.guard import Guard, parse_allowed
from sightline.settings import load_settings
from sightline.storage import sqlite
from sightline.storage.blobs import BlobWriter, FolderBlobs, MemoryBlobs
from sightline.tasks.image_loader import ImageLoader
from sightline.tasks.object_reader import ObjectReader
from sightline.tasks.retry_policy import ATTEMPTS, decide
from sightline.tasks.task import Claim
from sightline.tasks.url_policy import UrlPolicy
from sightline.wiring.tasks import open_tasks
from support.eventually import eventually
from support.hosts import host, ok
from support.predict import stuck
from support.tasks import picture, place, require_right, submit


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 1.0)
    monkeypatch.setattr("sightline.tasks.worker._STORAGE_PAUSE", 0.1)
    monkeypatch.setattr("sightline.storage.outages._QUIET_SECONDS", 0.0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail("a small file system cannot be mounted, though this is root")
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def said(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


def test_a_database_that_another_program_holds(
    tmp_path: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with place(tmp_path) as here, stuck(here, after=5) as go_on:
        task_id = here.submit([picture(n) for n in range(50)])
        eventually(lambda: here.desk.store.get(task_id).done >= 5, "it works")
        other = sqlite3.connect(tmp_path / "tasks" / "tasks.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        go_on.set()
        eventually(lambda: said(caplog, "tasks wait"), "it says that it waits")
        with pytest.raises(StorageUnavailable, match="locked"):
            here.submit([picture(0)])
        assert not here.workshop.unhealthy_reasons()  # pictures are served all the while
        here.detector.detect(picture(0))
        other.execute("ROLLBACK")
        other.close()
        require_right(here.ended(task_id))
        eventually(lambda: said(caplog, "tasks go on"), "it says that it goes on")
    assert said(caplog, "tasks wait") == 1
    assert said(caplog, "storage unavailable") == 1, "however often it was tried"
    assert said(caplog, "storage is back: the database of tasks can be written") == 1


def submitted(folder: Path, files: list[bytes]) -> str:
    """Id of a task that nobody works on yet."""
    desk = open_tasks(load_settings(engine="fake", data_dir=folder))
    try:
        return submit(desk, files)
    finally:
        desk.close()


def test_a_picture_that_cannot_be_read_fails_alone(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.tasks.retry_policy._FIRST_PAUSE", 0.05)
    task_id = submitted(tmp_path, [picture(n) for n in range(3)])
    blob = tmp_path / "tasks" / "blobs" / task_id / "1"
    blob.unlink()
    blob.mkdir()  # to read it is an error of the disk's
    with place(tmp_path) as here:
        task = here.ended(task_id)
        assert [image.status for image in task.images] == ["completed", "error", "completed"]
        failed = task.images[1]
        assert failed.failure is not None
        assert failed.failure.error == "UnreadablePicture"
        assert "does not give the bytes" in failed.failure.detail
        assert "Try again in" not in failed.failure.detail
        assert failed.attempts == 5
        blob.rmdir()
        blob.write_bytes(picture(1))
        here.desk.store.retry(task_id)
        here.workshop.wake()
        require_right(here.ended(task_id))


def test_a_folder_of_pictures_that_is_away_is_waited_for(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.storage.outages.RETRY_SECONDS", 0.05)
    task_id = submitted(tmp_path, [picture(0)])
    blobs, away = tmp_path / "tasks" / "blobs", tmp_path / "away"
    blobs.rename(away)
    blobs.write_bytes(b"not a folder")
    tried = threading.Semaphore(0)
    read = FolderBlobs.read

    def counted(self: FolderBlobs, key: str) -> bytes:
        tried.release()
        return read(self, key)

    monkeypatch.setattr(FolderBlobs, "read", counted)
    with place(tmp_path) as here:
        for _ in range(2 * ATTEMPTS):
            assert tried.acquire(timeout=60), "it goes on trying"
        assert here.desk.store.get(task_id).status == "processing"
        blobs.unlink()
        away.rename(blobs)
        require_right(here.ended(task_id))


def test_hosts_are_not_asked_in_vain_while_nothing_can_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, fetched, failures = [1000.0], [], [1]
    monkeypatch.setattr("sightline.tasks.image_loader.monotonic", lambda: now[0])

    class Full(MemoryBlobs):
        def create(self, key: str) -> BlobWriter:
            if failures:
                raise StorageUnavailable("The disk is full.", 5)
            return super().create(key)

    def fetch(url: str, *_: object) -> bytes:
        fetched.append(url)
        return b"data"

    addresses = UrlPolicy(Guard(parse_allowed("")), Resolver())
    getter = ImageLoader(Full(), fetch, ObjectReader(addresses, 100, 1.0), 1.0)
    claim = Claim("a1", 0, "", None, "https://example.com/x", {}, None, None, 0, 0.0)

    def ask() -> float | None:
        """Seconds until it is to be tried again; None if the bytes came."""
        ended: Queue[BaseException | None] = Queue()
        getter.get(claim, lambda _: ended.put(None), ended.put)
        error = ended.get(timeout=60)
        return None if error is None else decide(claim, error).retry_in

    assert [ask(), ask(), ask()] == [1, 1, 1]
    assert len(fetched) == 1, "the others are told at once"
    pauses: list[float] = []
    for _ in range(7):
        now[0] += pauses[-1] if pauses else 1
        pauses.append(ask() or 0)
    assert pauses == [2, 4, 8, 16, 30, 30, 30]
    assert len(fetched) == 8
    failures.clear()
    assert ask() == 30, "not yet"
    now[0] += 30
    assert [ask(), ask()] == [None, None]
    assert len(fetched) == 10
    getter.close()


def test_a_full_disk(small_disk: Path, impatient: None, caplog: pytest.LogCaptureFixture) -> None:
    with place(small_disk) as here, stuck(here, after=5) as go_on:
        task_id = here.submit([picture(n) for n in range(100)])
        eventually(lambda: here.desk.store.get(task_id).done >= 5, "it works")
        ballast = small_disk / "ballast"
        fill(ballast)
        go_on.set()
        eventually(lambda: said(caplog, "tasks wait"), "it says that it waits")
        with pytest.raises(StorageUnavailable, match="full"):
            here.submit([picture(0)])
        before = here.desk.store.get(task_id)
        assert before.done < 100
        here.detector.detect(picture(0))
        ballast.unlink()
        require_right(here.ended(task_id))
        require_right(here.ended(here.submit([picture(0)])))


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_blobs_that_cannot_be_written(small_disk: Path, impatient: None) -> None:
    """What is uploaded is refused, what is fetched is tried again, what is there is worked on."""
    blobs = small_disk / "tasks" / "blobs"
    blobs.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(blobs), str(blobs)], check=True)
    try:
        with (
            host(lambda answer, _: answer.send(ok(picture(0)))) as there,
            place(small_disk, url_allow=f"127.0.0.1:{there.port}") as here,
        ):
            uploaded = here.submit([picture(n) for n in range(50)])
            read_only(blobs, "ro")
            with pytest.raises(StorageUnavailable, match="writable"):
                here.submit([picture(0)])
            fetched = here.submit_urls(f"{there.url}/0")
            require_right(here.ended(uploaded))
            eventually(lambda: len(there.heads) >= 2, "it tries again")
            assert here.desk.store.get(fetched).status == "processing"
            read_only(blobs, "rw")
            require_right(here.ended(fetched))
    finally:
        subprocess.run(["umount", "--lazy", str(blobs)], check=True)


def read_only(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,bind,{how}", str(folder)], check=True)


def test_a_data_folder_that_is_gone_for_a_while(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's name is in a file too."""
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "workers.lock").mkdir()  # so that it cannot be opened
    with place(tmp_path) as here:
        task_id = here.submit([picture(0)])
        eventually(lambda: here.workshop.worker._away, "it waits")
        (tasks / "workers.lock").rmdir()
        require_right(here.ended(task_id))
