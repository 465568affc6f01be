"""Headers that say who answered, and how long a body is announced to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sightline.backend.messages import DetectReply, DeviceInfo

DEVICE_HEADER = "X-Sightline-Device"
MODEL_HEADER = "X-Sightline-Model"


def device_header(device: DeviceInfo) -> str:
    """Device, engine and precision that really run."""
    return f"{device.device}; engine={device.engine}; precision={device.precision}"


def answer_headers(reply: DetectReply) -> dict[str, str]:
    """Model, digest and device of an answer."""
    model = f"{reply.model}; digest={reply.digest}"
    return {MODEL_HEADER: model, DEVICE_HEADER: device_header(reply.device)}


def declared(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Bytes that the head announces; None if they come in chunks of unknown number."""
    chunked = False
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
        chunked |= name == b"transfer-encoding"
    return None if chunked else 0
