"""Files on their way to the blobs, however a body is cut into pieces."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sightline.api.uploads.multipart import MultipartReader
from sightline.api.uploads.task_files import TaskFiles, WriterPool
from sightline.errors import ImageTooLarge, MalformedBody, Overloaded, StorageUnavailable
from sightline.storage.blobs import BlobWriter, MemoryBlobs
from sightline.tasks.task import NewImage
from support import pictures
from support.tasks import picture

TASK = "0" * 32
BOUNDARY = b"5ightl1ne"
LARGEST = 600_000
LARGE = picture(2) + b"\0" * 500_000  # it is written in several pieces
LATE = pictures.encode(Image.new("RGB", (400, 300)), "TIFF")  # its header comes last
FILES = [
    picture(1),
    b"",
    LARGE,
    b"text",
    LARGE + b"\0" * 100_000,
    picture(3)[:30],
    b"\xff\xd8\xff" + b"\0" * 300_000,
    picture(4),
    LATE,
    LATE[:-1000],
]
KINDS = [
    None, "EmptyImage", None, "UnsupportedImage", "BodyTooLarge", "BrokenImage", "BrokenImage",
    None, None, "BrokenImage",
]  # fmt: skip


def form(files: list[bytes]) -> bytes:
    head = b'--%s\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\n'
    parts = [head % (BOUNDARY, number) + data + b"\r\n" for number, data in enumerate(files)]
    return b"".join(parts) + b"--%s--\r\n" % BOUNDARY


BODY = form(FILES)


def take(
    body: bytes, cuts: list[int], blobs: MemoryBlobs, *, strict: bool = False
) -> tuple[tuple[NewImage, ...], list[Any]]:
    """What becomes of `body` if it comes in pieces that end at `cuts`."""

    async def run() -> tuple[tuple[NewImage, ...], list[Any]]:
        writers = WriterPool(2)
        intake = TaskFiles(TASK, blobs, writers, (LARGEST, 10**6), strict=strict, compared=True)
        reader = MultipartReader(b"multipart/form-data", {b"boundary": BOUNDARY}, intake)
        try:
            for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
                reader.feed(body[start:end])
                intake.require_pictures(end)
                await intake.flush()
            reader.finish()
            return await intake.finish(), intake.fingerprints()
        except BaseException:
            intake.abandon()
            raise
        finally:
            if intake._finishing:
                await asyncio.wait(intake._finishing)
            await asyncio.sleep(0)
            writers.threads.shutdown()
            assert writers.places._value == 2, "all places are given back"

    return asyncio.run(run())


@given(st.lists(st.integers(0, len(BODY)), max_size=12).map(sorted))
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    blobs = MemoryBlobs()
    images, fingerprints = take(BODY, cuts, blobs)
    assert [one.failure and one.failure.error for one in images] == KINDS
    for number, (image, data) in enumerate(zip(images, FILES, strict=True)):
        assert image.filename == str(number)
        if image.failure is None:
            assert image.size == len(data)
            assert image.blob == f"{TASK}/{number}"
            assert blobs.read(image.blob) == data
    assert [folder.bytes for folder in blobs.folders()] == [sum(image.size for image in images)]
    assert fingerprints == take(BODY, [], MemoryBlobs())[1]


@given(st.lists(st.integers(0, len(BODY) - 20), min_size=1, max_size=3).map(sorted))
def test_what_is_cut_off_leaves_nothing(cuts: list[int]) -> None:
    blobs = MemoryBlobs()
    with pytest.raises(MalformedBody):
        take(BODY[: cuts[-1]], cuts, blobs)
    assert not blobs.folders()


def test_a_wrong_header_ends_a_strict_submission_at_once() -> None:
    """The rest of the picture is not waited for: this body breaks off before it."""
    huge = pictures.encode(Image.new("L", (2000, 2000)), "JPEG") + b"\0" * 500_000
    body = form([picture(1), huge])[:400_000]
    blobs = MemoryBlobs()
    with pytest.raises(ImageTooLarge, match="File 2, '1'"):
        take(body, [10_000, 350_000], blobs, strict=True)
    assert not blobs.folders()


def test_a_temporary_folder_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    blobs = MemoryBlobs()
    with pytest.raises(Overloaded, match="no room for uploads"):
        take(form([picture(1), LATE]), [], blobs)
    assert not blobs.folders()


def test_an_envelope_without_end() -> None:
    with pytest.raises(MalformedBody, match="around"):
        take(b"\r\n" * 100_000 + BODY, list(range(0, 200_000, 1000)), MemoryBlobs())


class FullDisk(MemoryBlobs):
    """Has room for some pictures and no more."""

    left = 3

    def create(self, key: str) -> BlobWriter:
        self.left -= 1
        if self.left < 0:
            raise StorageUnavailable("The disk is full.", 5)
        return super().create(key)


@pytest.mark.parametrize("files", [2, 3, 4, 8, 40, 100])
def test_a_disk_that_is_full_leaves_nothing(files: int) -> None:
    blobs = FullDisk()
    body = form([picture(1)] * files)
    if files <= 3:
        assert len(take(body, [], blobs)[0]) == files
        return
    with pytest.raises(StorageUnavailable):
        take(body, [len(body) // 2], blobs)
    assert not blobs.folders()
