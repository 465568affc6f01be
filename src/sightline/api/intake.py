"""The pictures of one submission on their way to the blobs, each judged while it arrives."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from sightline.api.bodies import ENVELOPE_BYTES
from sightline.errors import BodyTooLarge, ImageError, MalformedBody, RequestError, WrongFileCount
from sightline.tasks.task import MAX_IMAGES, Failure, NewImage
from sightline.vision.decode import check_header
from sightline.vision.formats import SNIFF_BYTES, sniff

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from sightline.storage.blobs import Blobs, BlobWriter

_BLOCK = 128 * 1024  # bytes of a picture that are held in memory until they are written
_PART_BYTES = 8 * 1024  # of boundary and headers around each picture, on average
_FINISHING = 8  # pictures of one submission that are being made safe at once
_MAX_NAME = 255

# A header may be anywhere in a file, so that all of it is read once more: one at a time.
_reading_back = threading.Lock()


class _Picture:
    """One file. Its bytes go through `take` on the event loop and `write`, `finish` on threads."""

    def __init__(self, key: str, filename: str, blobs: Blobs, max_bytes: int) -> None:
        self.key = key
        self.filename = "".join(c if c.isprintable() else "\ufffd" for c in filename[:_MAX_NAME])
        self.error: RequestError | None = None
        self.ended = False
        self.held = bytearray()
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._start = b""
        self._size = 0
        self._hash = hashlib.sha256()
        self._writer: BlobWriter | None = None

    def take(self, data: bytes) -> None:
        """More of it; what follows a failure is skipped."""
        if self.error is not None:
            return
        judged = len(self._start) >= SNIFF_BYTES
        if not judged:
            self._start = (self._start + data)[:SNIFF_BYTES]
        self._size += len(data)
        self.held += data
        if self._size > self._max_bytes:
            self.fail(BodyTooLarge(self._max_bytes))
        elif not judged and len(self._start) >= SNIFF_BYTES:
            self._judge()

    def end(self) -> None:
        self.ended = True
        if self.error is None and self._size < SNIFF_BYTES:
            self._judge()

    def fail(self, error: RequestError) -> None:
        self.error = error
        self.held = bytearray()

    def write(self) -> None:
        """Write what is held."""
        self._write()

    def _write(self) -> BlobWriter:
        if self._writer is None:
            self._writer = self._blobs.create(self.key)
        block, self.held = bytes(self.held), bytearray()
        self._hash.update(block)
        self._writer.write(block)
        return self._writer

    def finish(self, max_pixels: int) -> None:
        """Look at the header, and make the blob safe."""
        try:
            if self._writer is None:
                check_header(bytes(self.held), max_pixels)
                writer = self._write()
            else:
                writer = self._write()
                with _reading_back:
                    check_header(writer.read(), max_pixels)
        except ImageError as error:
            self.fail(error)
            self.discard()
        else:
            writer.finish()

    def discard(self) -> None:
        """Nothing of it stays, unless it is finished."""
        if self._writer is not None:
            self._writer.abort()

    def image(self) -> NewImage:
        if self.error is not None:
            failure = Failure(type(self.error).__name__, str(self.error))
            return NewImage(self.filename, failure=failure)
        return NewImage(self.filename, blob=self.key, size=self._size)

    def fingerprint(self) -> tuple[object, ...]:
        """What tells it from another."""
        if self.error is not None:
            return self.filename, type(self.error).__name__, str(self.error)
        return self.filename, self._size, self._hash.hexdigest()

    def _judge(self) -> None:
        try:
            sniff(self._start)
        except ImageError as error:
            self.fail(error)


class Writers:
    """Threads that write pictures, and how many of all submissions may wait for them."""

    def __init__(self, threads: int, waiting: int) -> None:
        self.threads = ThreadPoolExecutor(threads, "sightline-blobs")
        self.places = asyncio.Semaphore(waiting)


class Intake:
    """Takes the files of a form, as its `Parts`.

    Used from the event loop, where nothing blocks: what has come lies in memory until `settle`
    has had it written on threads.
    """

    def __init__(
        self,
        task_id: str,
        blobs: Blobs,
        writers: Writers,
        limits: tuple[int, int],
        *,
        strict: bool,
    ) -> None:
        """For a new task.

        Args:
            task_id: begins the keys of its blobs.
            blobs: where pictures are kept.
            writers: write them.
            limits: most bytes, and most pixels, of a picture.
            strict: raise what is wrong with a picture, instead of letting it fail alone.
        """
        self._task_id = task_id
        self._blobs = blobs
        self._threads = writers.threads
        self._places = writers.places
        self._max_bytes, self._max_pixels = limits
        self._strict = strict
        self._pictures: list[_Picture] = []
        self._unsettled: list[_Picture] = []
        self._finishing: set[asyncio.Task[None]] = set()
        self._jobs: set[Future[None]] = set()
        self._kept = False
        self._bytes = 0

    def begin(self, name: str, filename: str) -> None:
        """Raises WrongFileCount if the field is another, or there are too many."""
        if name not in {"files", "file"}:
            raise WrongFileCount(
                f"There is a field '{name[:80]}' that is not used: send pictures as fields "
                "'files', and options in the query (?confidence=0.3)."
            )
        index = len(self._pictures)
        if index == MAX_IMAGES:
            raise WrongFileCount(
                f"There are more than {MAX_IMAGES} files: send the others as another task."
            )
        picture = _Picture(f"{self._task_id}/{index}", filename, self._blobs, self._max_bytes)
        self._pictures.append(picture)
        self._unsettled.append(picture)

    def append(self, data: bytes) -> None:
        """Raises what is wrong with the picture, if it is to."""
        self._bytes += len(data)
        self._pictures[-1].take(data)
        self._require_good(self._pictures[-1])

    def end(self) -> None:
        """Raises what is wrong with the picture, if it is to."""
        self._pictures[-1].end()
        self._require_good(self._pictures[-1])

    def require_pictures(self, received: int) -> None:
        """Raises MalformedBody if far more bytes were received than there are of files."""
        if received - self._bytes > ENVELOPE_BYTES + _PART_BYTES * len(self._pictures):
            raise MalformedBody("There is more around the pictures than any form needs.")

    async def settle(self) -> None:
        """Have what has arrived written.

        Raises:
            StorageUnavailable: it cannot be written now.
            ImageError: a header is wrong, if that is to be raised.
        """
        begun, self._unsettled = self._unsettled, []
        for picture in begun:
            if picture.error is not None:
                await self._run(picture.discard)
            elif picture.ended:
                await self._settle_until(_FINISHING - 1)
                await self._places.acquire()
                finishing = asyncio.create_task(self._finish(picture))
                finishing.add_done_callback(self._on_finished)
                self._finishing.add(finishing)
            elif len(picture.held) >= _BLOCK:
                await self._run(picture.write)
            if not (picture.ended or picture.error):
                self._unsettled.append(picture)

    async def finish(self) -> tuple[NewImage, ...]:
        """The pictures, all safe.

        Raises:
            StorageUnavailable, ImageError: as `settle`.
            WrongFileCount: there is none.
        """
        if not self._pictures:
            raise WrongFileCount("There is no file: send up to 100 as fields 'files'.")
        await self._settle_until(0)
        return tuple(picture.image() for picture in self._pictures)

    def fingerprints(self) -> list[tuple[object, ...]]:
        """What tells these pictures from others."""
        return [picture.fingerprint() for picture in self._pictures]

    def keep(self) -> None:
        """The blobs are the store's from now on, whether or not it takes the task."""
        self._kept = True

    def abandon(self) -> None:
        """Nothing of it is needed any more, unless it is kept."""
        if self._kept:
            return
        for one in self._finishing:
            one.cancel()
        for job in list(self._jobs):
            job.cancel()
        if self._pictures:
            self._threads.submit(self._discard)

    def _discard(self) -> None:
        wait(self._jobs)
        for picture in self._pictures:
            picture.discard()
        self._blobs.delete(self._task_id)

    async def _finish(self, picture: _Picture) -> None:
        await self._run(lambda: picture.finish(self._max_pixels))
        self._require_good(picture)

    def _on_finished(self, finished: asyncio.Task[None]) -> None:
        self._places.release()
        if not finished.cancelled():
            finished.exception()  # is noted: where several fail, the first is the answer

    async def _settle_until(self, left: int) -> None:
        """Wait until only so many are being made safe; raises what happened to one."""
        while len(self._finishing) > left:
            done, self._finishing = await asyncio.wait(
                self._finishing, return_when=asyncio.FIRST_COMPLETED
            )
            for one in done:
                one.result()

    async def _run(self, work: Callable[[], None]) -> None:
        job = self._threads.submit(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        await asyncio.wrap_future(job)

    def _require_good(self, picture: _Picture) -> None:
        if self._strict and picture.error is not None:
            number = self._pictures.index(picture) + 1
            picture.error.args = (f"File {number}, '{picture.filename}': {picture.error}",)
            raise picture.error
