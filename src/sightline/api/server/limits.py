"""Limits on what a client sends over a WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sightline.api.uploads.spool import UploadBudget


class MessageLimits(NamedTuple):
    """What a client may ask of a connection.

    Attributes:
        size: bytes of a message.
        idle: seconds in which nothing comes in the middle of one.
        whole: seconds from its first byte to its last.
        upload_budget: of all connections, for what unfinished messages take beyond `SMALL` bytes.
    """

    size: int
    idle: float
    whole: float
    upload_budget: UploadBudget
