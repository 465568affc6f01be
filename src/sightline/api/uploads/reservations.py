"""Reservations: backlog room for the bytes of submissions that are being read."""

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

_RETRY_AFTER = 10  # seconds, as `tasks.admission.BACKLOG_SECONDS`


class Reservations:
    """Admits submissions while the backlog has room, before they are read.

    An estimate: the store counts exactly, once they are read. For one event loop.
    """

    def __init__(self, limits: Backlog) -> None:
        self._limits = limits
        self._waiting = 0
        self._reserved = 0

    @contextmanager
    def admit(self, waiting: Glance, announced: int) -> Iterator[Reservation]:
        """Admit a submission of `announced` bytes (0 if unknown).

        Room is reserved only for received bytes, so an announcement alone blocks no others.

        Raises:
            Overloaded: the backlog has no room for it now.
            BodyTooLarge: it is larger than the whole backlog.
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
        """Raises BodyTooLarge if `size` bytes are more than the whole backlog holds."""
        if size > self._limits.bytes + MAX_IMAGES * ENVELOPE_BYTES:
            raise BodyTooLarge(self._limits.bytes, FEWER)

    def require_room(self, size: int) -> None:
        """Raises Overloaded if `size` more bytes have no room; in an empty backlog they do."""
        others = self._waiting + self._reserved
        if others and others + size > self._limits.bytes:
            raise Overloaded(f"{others / 2**20:.0f} MB of pictures wait already.", _RETRY_AFTER)

    def take(self, size: int) -> None:
        """Reserve `size` more bytes. Raises Overloaded if there is no room."""
        self.require_room(size)
        self._reserved += size


class Reservation:
    """The reserved bytes of one submission that is being read."""

    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations
        self.size = 0

    def grow(self, received: int) -> None:
        """Reserve up to `received` bytes in all. Raises as `Reservations.admit`."""
        if received > self.size:
            self._reservations.require_possible(received)
            self._reservations.take(received - self.size)
            self.size = received
