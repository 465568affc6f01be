"""Headers: the model and device of an answer, and the declared length of a body."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sightline.backend.messages import DetectReply, DeviceInfo

DEVICE_HEADER = "X-Sightline-Device"
MODEL_HEADER = "X-Sightline-Model"


def device_header(device: DeviceInfo) -> str:
    """The value of `X-Sightline-Device`: device, engine and precision that really run."""
    return f"{device.device}; engine={device.engine}; precision={device.precision}"


def answer_headers(reply: DetectReply) -> dict[str, str]:
    """The headers of an answer: model, digest and device."""
    model = f"{reply.model}; digest={reply.digest}"
    return {MODEL_HEADER: model, DEVICE_HEADER: device_header(reply.device)}


def declared(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Bytes of the body by its headers: 0 without one, None if it is chunked."""
    chunked = False
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
        chunked |= name == b"transfer-encoding"
    return None if chunked else 0
