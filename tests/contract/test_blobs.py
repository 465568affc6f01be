"""What blobs promise wherever they lie: a folder, memory."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sightline.errors import ExpiredTask, StorageUnavailable, UnreadablePicture
from sightline.storage.blobs import Blobs, FolderBlobs, MemoryBlobs

KEY = "a1/0"


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return MemoryBlobs() if request.param == "memory" else FolderBlobs(tmp_path / "blobs")


def put(blobs: Blobs, key: str, data: bytes) -> None:
    writer = blobs.create(key)
    writer.write(data)
    writer.finish()


def test_what_was_written_is_read(blobs: Blobs) -> None:
    writer = blobs.create(KEY)
    for part in (b"one ", bytearray(b"two "), b"", b"three"):
        writer.write(part)
    writer.finish()
    blobs.commit("a1")
    assert blobs.read(KEY) == b"one two three"
    put(blobs, KEY, b"newer")
    assert blobs.read(KEY) == b"newer"


def test_nothing_unfinished_is_seen(blobs: Blobs) -> None:
    writer = blobs.create(KEY)
    writer.write(b"half of")
    with pytest.raises(ExpiredTask):
        blobs.read(KEY)
    writer.abort()
    writer.abort()
    with pytest.raises(ExpiredTask):
        blobs.read(KEY)
    assert sum(folder.bytes for folder in blobs.folders()) == 0


def test_an_abort_after_the_end_harms_nothing(blobs: Blobs) -> None:
    writer = blobs.create(KEY)
    writer.write(b"all")
    writer.finish()
    writer.abort()
    assert blobs.read(KEY) == b"all"


def test_several_at_once_do_not_mix(blobs: Blobs) -> None:
    writers = [blobs.create(f"a1/{i}") for i in range(10)]
    for _ in range(3):
        for i, writer in enumerate(writers):
            writer.write(bytes([i]))
    writers[0].abort()
    for writer in writers[1:]:
        writer.finish()
    assert [blobs.read(f"a1/{i}") for i in range(1, 10)] == [bytes([i]) * 3 for i in range(1, 10)]


def test_a_folder_goes_as_a_whole(blobs: Blobs) -> None:
    for key in ("a1/0", "a1/1", "b2/0"):
        put(blobs, key, b"12345")
    assert {(found.name, found.bytes) for found in blobs.folders()} == {("a1", 10), ("b2", 5)}
    assert all(abs(found.written - time.time()) < 60 for found in blobs.folders())
    blobs.delete("a1")
    blobs.delete("a1")
    assert [found.name for found in blobs.folders()] == ["b2"]
    with pytest.raises(ExpiredTask):
        blobs.read("a1/0")


def test_there_is_nothing_at_first(blobs: Blobs) -> None:
    assert blobs.folders() == []


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "", "a/b.jpg"])
def test_a_key_cannot_leave_the_folder(key: str, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    for call in (blobs.create, blobs.read, blobs.delete):
        with pytest.raises(ValueError, match="not a key"):
            call(key)
    assert not (tmp_path / "blobs").exists()


def test_what_others_put_there_is_left_alone(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "notes").touch()
    put(blobs, KEY, b"1")
    assert [found.name for found in blobs.folders()] == ["a1"]


def test_one_that_cannot_be_read_is_told_from_a_folder_that_is_away(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    blobs = FolderBlobs(root)
    put(blobs, KEY, b"good")
    (root / "a1" / "1").mkdir()  # where a file should be
    with pytest.raises(UnreadablePicture, match="does not give the bytes"):
        blobs.read("a1/1")
    assert blobs.read(KEY) == b"good"
    root.rename(tmp_path / "away")
    root.write_bytes(b"not a folder")
    for _ in range(2):
        with pytest.raises(StorageUnavailable) as caught:
            blobs.read(KEY)
        assert not isinstance(caught.value, UnreadablePicture)
        if root.exists():
            root.unlink()  # nor is there anything at all
    (tmp_path / "away").rename(root)
    assert blobs.read(KEY) == b"good"
