"""What a worker does while nothing can be written: it waits, loses nothing, and goes on."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.errors import StorageUnavailable
from sightline.storage import sqlite
from support.eventually import eventually
from support.hosts import host, ok
from support.tasks import picture, place, require_right


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr("sightline.tasks.worker._STORAGE_PAUSE", 0.1)


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
    with place(tmp_path) as here:
        task_id = here.submit([picture(n) for n in range(50)])
        eventually(lambda: here.desk.store.get(task_id).done >= 5, "it works")
        other = sqlite3.connect(tmp_path / "tasks" / "tasks.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        eventually(lambda: said(caplog, "tasks wait"), "it says that it waits")
        with pytest.raises(StorageUnavailable, match="locked"):
            here.submit([picture(0)])
        assert not here.workshop.troubles()  # pictures are served all the while
        here.detector.detect(picture(0))
        other.execute("ROLLBACK")
        other.close()
        require_right(here.ended(task_id))
        eventually(lambda: said(caplog, "tasks go on"), "it says that it goes on")
    assert said(caplog, "tasks wait") == 1


def test_a_full_disk(small_disk: Path, impatient: None, caplog: pytest.LogCaptureFixture) -> None:
    with place(small_disk) as here:
        task_id = here.submit([picture(n) for n in range(100)])
        eventually(lambda: here.desk.store.get(task_id).done >= 5, "it works")
        ballast = small_disk / "ballast"
        fill(ballast)
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
