"""Limits on what a client sends over a WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sightline.api.uploads.spool import UploadBudget


class MessageLimits(NamedTuple):
    """The limits on the messages of one connection.

    Attributes:
        size: most bytes of a message.
        idle: most seconds without a byte within a message.
        whole: most seconds from the first byte of a message to its last.
        upload_budget: memory for unfinished messages beyond `SMALL` bytes, of all connections.
    """

    size: int
    idle: float
    whole: float
    upload_budget: UploadBudget
