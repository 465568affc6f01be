"""Frames between front ends and the engine process, over a Unix socket.

A frame is the sizes of its three parts (4 bytes each, big-endian), a header in JSON, a message in
JSON, and a body of any bytes (a picture, an answer). A front end sends calls: the header has a
unique `id` and the name of the `call`. Its replies have the same `id`.

In a stream, each reply has `more`: true, and the last frame has `end`. The engine sends `WINDOW`
replies, and one more for each `next` call with the `id` of the stream. So a slow reader slows down
its own stream only. A `cancel` call with an `id` cancels that call.

The engine sends the first frame: it has no `id`, and says that the engine is ready.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from sightline import errors
from sightline.errors import SightlineError

if TYPE_CHECKING:
    from asyncio import StreamReader

_SIZES = struct.Struct("!III")
_MAX_HEADER = 2**20
_MAX_MESSAGE = 2**26
_MAX_DETAIL = 10_000
_ERRORS = {
    name: cls
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, SightlineError)
}

READ_AHEAD = 2**20
"""Bytes that a stream reader buffers ahead."""

WINDOW = 4
"""Most replies of a stream that are sent and not yet requested with `next`."""


class Frame(NamedTuple):
    """One frame: JSON header, JSON message, and body."""

    header: dict[str, Any]
    message: bytes = b""
    body: bytes = b""


class BrokenFrame(ConnectionError):
    """The received bytes are no frame, or a frame that is too large."""


def pack(frame: Frame) -> tuple[bytes, bytes, bytes]:
    """A frame in pieces, so that a large body is not copied."""
    head = json.dumps(frame.header, separators=(",", ":")).encode()
    sizes = _SIZES.pack(len(head), len(frame.message), len(frame.body))
    return sizes + head, frame.message, frame.body


async def read_frame(reader: StreamReader, max_body: int) -> Frame:
    """The next frame.

    Raises:
        EOFError: the other side is gone.
        BrokenFrame: the frame has a wrong format, or a body of more than `max_body` bytes.
    """
    head_size, message_size, body_size = _SIZES.unpack(await reader.readexactly(_SIZES.size))
    if head_size > _MAX_HEADER or message_size > _MAX_MESSAGE or body_size > max_body:
        raise BrokenFrame(
            f"a frame of {head_size} + {message_size} + {body_size} bytes is too large"
        )
    try:
        header = json.loads(await reader.readexactly(head_size))
    except ValueError as error:
        raise BrokenFrame(f"a frame's header is not JSON: {error}") from error
    message = await reader.readexactly(message_size)
    return Frame(header, message, await reader.readexactly(body_size))


def error_to_header(error: SightlineError) -> dict[str, Any]:
    """An error as a header: its class (the nearest public one), its text and its attributes."""
    name = next(cls.__name__ for cls in type(error).__mro__ if cls in _ERRORS.values())
    return {"error": name, "detail": str(error)[:_MAX_DETAIL], "carries": vars(error)}


def error_from_header(header: dict[str, Any]) -> SightlineError:
    """The error that `error_to_header` encoded."""
    cls = _ERRORS[header["error"]]
    error = cls.__new__(cls, header["detail"])  # not `__init__`, which would make the text again
    vars(error).update(header["carries"])
    return error
