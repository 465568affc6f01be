"""Content negotiation: which form of an answer a client prefers."""

from __future__ import annotations


def wants_jpeg(accept: str) -> bool:
    """Whether `Accept` (RFC 9110, 12.5.1) prefers image/jpeg to application/json."""
    jpeg = _quality(accept, "image/jpeg")
    return jpeg[0] > 0 and jpeg > _quality(accept, "application/json")


def accepts(accept: str, media_type: str) -> bool:
    """Whether `Accept` allows `media_type`."""
    return _quality(accept, media_type)[0] > 0


def _quality(accept: str, wanted: str) -> tuple[float, int]:
    """The q of the most specific range that matches `wanted`, and its specificity, 0 to 3."""
    ranges = {wanted: 3, wanted.split("/", maxsplit=1)[0] + "/*": 2, "*/*": 1}
    best = (0, 0.0)
    for item in accept.split(","):
        media_range, _, parameters = item.partition(";")
        specific = ranges.get(media_range.strip().lower(), 0)
        if specific > best[0]:
            best = (specific, _q(parameters))
    return best[1], best[0]


def _q(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
