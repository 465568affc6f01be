"""One file of a submission: checked, hashed and stored while it arrives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from sightline.errors import BodyTooLarge, ImageError, Overloaded, RequestError
from sightline.tasks.task import Failure, NewImage
from sightline.vision.formats import Sniffer
from sightline.vision.header_check import HeaderCheck

if TYPE_CHECKING:
    from sightline.storage.blobs import Blobs, BlobWriter

Fingerprint: TypeAlias = tuple[str, str]
"""A file's name, and the SHA-256 of its bytes in hexadecimal."""

_MAX_NAME = 255
_RETRY_AFTER = 10  # seconds, if the disk is full of other uploads


class TaskFile:
    """One file: `take` gets its bytes on the event loop, `write` stores them on threads."""

    def __init__(
        self, key: str, filename: str, blobs: Blobs, limits: tuple[int, int], *, compared: bool
    ) -> None:
        """A file without bytes yet.

        Args:
            key: of its blob.
            filename: the client's name for it.
            blobs: stores it.
            limits: most bytes, and most pixels.
            compared: compute its fingerprint.
        """
        self.key = key
        self.filename = shown_name(filename)
        self.error: RequestError | None = None
        self.ended = False
        self.held = bytearray()
        self._blobs = blobs
        self._max_bytes, self._max_pixels = limits
        self._sniffer = Sniffer()
        self._size = 0
        self._hash = hashlib.sha256() if compared else None
        self._header: HeaderCheck | None = None
        self._writer: BlobWriter | None = None

    def take(self, data: bytes) -> None:
        """Add the next bytes. After a failure they are only hashed."""
        self.held += data
        if self.error is not None:
            return
        self._size += len(data)
        if self._size > self._max_bytes:
            self.error = BodyTooLarge(self._max_bytes)
            return
        with self._failing():
            self._sniffer.feed(data)

    def end(self) -> None:
        """End the file."""
        self.ended = True
        if self.error is None:
            with self._failing():
                self._sniffer.finish()

    def write(self, *, last: bool = False) -> None:
        """Check and write the held bytes, unless the picture failed; `last` finishes the blob.

        Raises:
            StorageUnavailable: it cannot be written now.
            Overloaded: the disk has no room for temporary files.
        """
        block, self.held = bytes(self.held), bytearray()
        if self._hash is not None:
            self._hash.update(block)
        if self.error is None:
            self._check(block, last=last)
        if self.error is not None:
            self.discard()
            return
        if self._writer is None:
            self._writer = self._blobs.create(self.key)
        self._writer.write(block)
        if last:
            self._writer.finish()

    def _check(self, block: bytes, *, last: bool) -> None:
        if self._sniffer.format is None:
            raise RuntimeError("it is written before its type is known")
        if self._header is None:
            self._header = HeaderCheck(self._sniffer.format, self._max_pixels)
        try:
            with self._failing():
                self._header.feed(block)
                if last:
                    self._header.finish()
        except OSError as error:
            raise Overloaded("The disk has no room for uploads.", _RETRY_AFTER) from error

    def discard(self) -> None:
        """Remove what was written, unless the blob is finished."""
        if self._header is not None:
            self._header.close()
        if self._writer is not None:
            self._writer.abort()

    def image(self) -> NewImage:
        if self.error is not None:
            failure = Failure(type(self.error).__name__, str(self.error))
            return NewImage(self.filename, failure=failure)
        return NewImage(self.filename, blob=self.key, size=self._size)

    def fingerprint(self) -> Fingerprint:
        """Its name and hash; only with `compared`."""
        if self._hash is None:
            raise RuntimeError("its fingerprint was not to be asked for")
        return self.filename, self._hash.hexdigest()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Store an ImageError as the error of the picture."""
        try:
            yield
        except ImageError as error:
            self.error = error


def shown_name(filename: str) -> str:
    """A file name, shortened, with its unprintable characters replaced."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in filename[:_MAX_NAME])
