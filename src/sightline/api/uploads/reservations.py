"""Submissions that are being read: their bytes take room as if they waited already."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sightline.api.uploads.multipart import ENVELOPE_BYTES
from sightline.errors import BodyTooLarge, Overloaded
from sightline.tasks.admission import FEWER
from sightline.tasks.task import MAX_IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sightline.tasks.task import Backlog, Glance

_RETRY_AFTER = 10  # seconds, as the store tells where the backlog is full


class Reservations:
    """Lets submissions in as far as the backlog has room, before they are read.

    An estimate: the store counts exactly when they are there. Used from one event loop.
    """

    def __init__(self, limits: Backlog) -> None:
        self._limits = limits
        self._waiting = 0
        self._reserved = 0

    @contextmanager
    def admit(self, waiting: Glance, announced: int) -> Iterator[Reservation]:
        """A submission of so many bytes, as far as they are announced.

        They take no room before they are there: whoever only announces keeps nobody out.

        Raises:
            Overloaded: there is no room for it.
            BodyTooLarge: there never is.
        """
        self.require_possible(announced)
        if waiting.images_waiting >= self._limits.images:
            raise Overloaded(f"{waiting.images_waiting} pictures wait already.", _RETRY_AFTER)
        self._waiting = waiting.bytes_waiting
        reservation = Reservation(self)
        try:
            self.require_room(announced)
            yield reservation
        finally:
            self._reserved -= reservation.size

    def require_possible(self, size: int) -> None:
        """Raises BodyTooLarge if a submission of `size` bytes could never be kept."""
        if size > self._limits.bytes + MAX_IMAGES * ENVELOPE_BYTES:
            raise BodyTooLarge(self._limits.bytes, FEWER)

    def require_room(self, size: int) -> None:
        """Raises Overloaded if `size` more bytes are too many, unless there are no others."""
        others = self._waiting + self._reserved
        if others and others + size > self._limits.bytes:
            raise Overloaded(f"{others / 2**20:.0f} MB of pictures wait already.", _RETRY_AFTER)

    def take(self, size: int) -> None:
        """Count `size` more bytes. Raises Overloaded if they are too many."""
        self.require_room(size)
        self._reserved += size


class Reservation:
    """One submission that is being read."""

    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations
        self.size = 0

    def grow(self, received: int) -> None:
        """So many bytes there are by now. Raises as `Reservations.admit`."""
        if received > self.size:
            self._reservations.require_possible(received)
            self._reservations.take(received - self.size)
            self.size = received
