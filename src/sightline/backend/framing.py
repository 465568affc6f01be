"""What front ends and the engine process say to each other over a Unix socket.

A frame is the sizes of its two parts (4 bytes each, big-endian), a header in JSON, and a payload of
any bytes. A front end sends calls, each with an `id` of its own and the `call`'s name; the frame
that answers it has the same `id`. `cancel` with the `id` of a call gives it up. The engine speaks
first: a frame without an `id` says that it is ready.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from sightline import errors
from sightline.errors import SightlineError

if TYPE_CHECKING:
    from asyncio import StreamReader

_SIZES = struct.Struct("!II")
_MAX_HEADER = 2**20
_MAX_DETAIL = 10_000
_ERRORS = {
    name: cls
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, SightlineError)
}

READ_AHEAD = 2**20
"""Bytes that a reader takes in before it is asked for them."""


class Frame(NamedTuple):
    """One message."""

    header: dict[str, Any]
    payload: bytes


class BrokenFrame(ConnectionError):
    """What came is no frame, or one that is too large."""


def pack(header: dict[str, Any], payload: bytes = b"") -> tuple[bytes, bytes]:
    """A frame in two pieces, so that a large payload is not copied."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return _SIZES.pack(len(head), len(payload)) + head, payload


async def read_frame(reader: StreamReader, max_payload: int) -> Frame:
    """The next frame.

    Raises:
        EOFError: the other side is gone.
        BrokenWire: it does not keep to the format, or to `max_payload` bytes.
    """
    head_size, payload_size = _SIZES.unpack(await reader.readexactly(_SIZES.size))
    if head_size > _MAX_HEADER or payload_size > max_payload:
        raise BrokenFrame(f"a frame of {head_size} + {payload_size} bytes is too large")
    try:
        header = json.loads(await reader.readexactly(head_size))
    except ValueError as error:
        raise BrokenFrame(f"a frame's header is not JSON: {error}") from error
    return Frame(header, await reader.readexactly(payload_size))


def error_to_header(error: SightlineError) -> dict[str, Any]:
    """An error by the name of its class (or of the nearest that is public), with all it carries."""
    name = next(cls.__name__ for cls in type(error).__mro__ if cls in _ERRORS.values())
    return {"error": name, "detail": str(error)[:_MAX_DETAIL], "carries": vars(error)}


def error_from_header(header: dict[str, Any]) -> SightlineError:
    """The error that `error_to_header` was given."""
    cls = _ERRORS[header["error"]]
    error = cls.__new__(cls, header["detail"])  # its words are made already
    vars(error).update(header["carries"])
    return error
