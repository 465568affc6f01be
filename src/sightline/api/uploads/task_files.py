"""The files of one submission: checked while they arrive, and written as blobs."""

from __future__ import annotations

import asyncio
from concurrent.futures import wait
from typing import TYPE_CHECKING

from sightline.api.uploads.multipart import ENVELOPE_BYTES
from sightline.api.uploads.task_file import TaskFile
from sightline.errors import MalformedBody, WrongFileCount
from sightline.tasks.task import MAX_IMAGES, NewImage
from sightline.threads import BLOB_WRITERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from sightline.api.uploads.task_file import Fingerprint
    from sightline.storage.blobs import Blobs

_BLOCK = 256 * 1024  # bytes of a picture that are collected in memory before they are written
_PART_BYTES = 8 * 1024  # most bytes of boundary and headers for each picture, on average
_FINISHING = 8  # pictures of one submission that are finished at once


def require_file(field: str, index: int) -> None:
    """Raises WrongFileCount if `field` is unknown, or file `index` (from 0) is one too many."""
    if field not in {"files", "file"}:
        raise WrongFileCount(
            f"There is a field '{field[:80]}' that is not used: send pictures as fields "
            "'files', and options in the query (?confidence=0.3)."
        )
    if index == MAX_IMAGES:
        raise WrongFileCount(
            f"There are more than {MAX_IMAGES} files: send the others as another task."
        )


def require_pictures(received: int, of_files: int, files: int) -> None:
    """Raises MalformedBody if far more bytes were received than the files have."""
    if received - of_files > ENVELOPE_BYTES + _PART_BYTES * files:
        raise MalformedBody("There is more around the pictures than any form needs.")


class WriterPool:
    """Threads that write pictures, and a limit on the pictures that wait for them."""

    def __init__(self, waiting: int) -> None:
        self.threads = BLOB_WRITERS.pool()
        self.places = asyncio.Semaphore(waiting)


class TaskFiles:
    """`Parts` of a form that stores its files as blobs.

    For the event loop; nothing blocks. Received bytes stay in memory until `flush` has them
    written on threads.
    """

    def __init__(
        self,
        task_id: str,
        blobs: Blobs,
        writers: WriterPool,
        limits: tuple[int, int],
        *,
        strict: bool,
        compared: bool,
    ) -> None:
        """The files of a new task; none yet.

        Args:
            task_id: prefix of the keys of its blobs.
            blobs: stores the pictures.
            writers: write them.
            limits: most bytes, and most pixels, of a picture.
            strict: raise the error of an invalid picture; otherwise only that picture fails.
            compared: compute `fingerprints`.
        """
        self._task_id = task_id
        self._blobs = blobs
        self._threads = writers.threads
        self._places = writers.places
        self._limits = limits
        self._strict = strict
        self._compared = compared
        self._pictures: list[TaskFile] = []
        self._unflushed: list[TaskFile] = []
        self._finishing: set[asyncio.Task[None]] = set()
        self._jobs: set[Future[None]] = set()
        self._kept = False
        self._bytes = 0

    def begin(self, name: str, filename: str) -> None:
        """Raises WrongFileCount for an unknown field, or too many files."""
        index = len(self._pictures)
        require_file(name, index)
        picture = TaskFile(
            f"{self._task_id}/{index}",
            filename,
            self._blobs,
            self._limits,
            compared=self._compared,
        )
        self._pictures.append(picture)
        self._unflushed.append(picture)

    def append(self, data: bytes) -> None:
        """Add bytes to the current file. Raises its error if `strict`."""
        self._bytes += len(data)
        self._pictures[-1].take(data)
        self._require_good(self._pictures[-1])

    def end(self) -> None:
        """End the current file. Raises its error if `strict`."""
        self._pictures[-1].end()
        self._require_good(self._pictures[-1])

    def require_pictures(self, received: int) -> None:
        """Raises MalformedBody if far more bytes were received than the files have."""
        require_pictures(received, self._bytes, len(self._pictures))

    async def flush(self) -> None:
        """Have the received bytes written on threads.

        Raises:
            StorageUnavailable: they cannot be written now.
            Overloaded: the disk has no room for temporary files.
            ImageError: a header is invalid, and `strict` is set.
        """
        begun, self._unflushed = self._unflushed, []
        for picture in begun:
            if picture.ended:
                await self._flush_until(_FINISHING - 1)
                await self._places.acquire()
                finishing = asyncio.create_task(self._finish(picture))
                finishing.add_done_callback(self._on_finished)
                self._finishing.add(finishing)
            elif len(picture.held) >= _BLOCK:
                await self._run(picture.write)
                self._require_good(picture)
            if not picture.ended:
                self._unflushed.append(picture)

    async def finish(self) -> tuple[NewImage, ...]:
        """Finish all blobs, and return the images.

        Raises:
            StorageUnavailable, Overloaded, ImageError: as `flush`.
            WrongFileCount: there are no files.
        """
        if not self._pictures:
            raise WrongFileCount("There is no file: send up to 100 as fields 'files'.")
        await self._flush_until(0)
        return tuple(picture.image() for picture in self._pictures)

    def fingerprints(self) -> list[Fingerprint]:
        """Fingerprints of all files."""
        return [picture.fingerprint() for picture in self._pictures]

    def keep(self) -> None:
        """Leave the blobs to the task store: `abandon` does not remove them any more."""
        self._kept = True

    def abandon(self) -> None:
        """Cancel the writing and remove the blobs, unless `keep` was called."""
        if self._kept:
            return
        for finishing in self._finishing:
            finishing.cancel()
        for job in list(self._jobs):
            job.cancel()
        if self._pictures:
            self._threads.submit(self._discard)

    def _discard(self) -> None:
        wait(self._jobs)
        for picture in self._pictures:
            picture.discard()
        self._blobs.delete(self._task_id)

    async def _finish(self, picture: TaskFile) -> None:
        await self._run(lambda: picture.write(last=True))
        self._require_good(picture)

    def _on_finished(self, finished: asyncio.Task[None]) -> None:
        self._places.release()
        if not finished.cancelled():
            finished.exception()  # marked as retrieved: only the first error is raised

    async def _flush_until(self, left: int) -> None:
        """Wait until at most `left` pictures are being finished; raises the first error."""
        while len(self._finishing) > left:
            done, self._finishing = await asyncio.wait(
                self._finishing, return_when=asyncio.FIRST_COMPLETED
            )
            for finished in done:
                finished.result()

    async def _run(self, work: Callable[[], None]) -> None:
        job = self._threads.submit(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        await asyncio.wrap_future(job)

    def _require_good(self, picture: TaskFile) -> None:
        if self._strict and picture.error is not None:
            number = self._pictures.index(picture) + 1
            picture.error.args = (f"File {number}, '{picture.filename}': {picture.error}",)
            raise picture.error
