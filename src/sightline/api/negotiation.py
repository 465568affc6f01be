"""Which of the two forms of an answer a client prefers."""

from __future__ import annotations


def wants_jpeg(accept: str) -> bool:
    """Whether `Accept` (RFC 9110, 12.5.1) prefers image/jpeg to application/json."""
    return _quality(accept, "image/jpeg") > _quality(accept, "application/json")


def _quality(accept: str, wanted: str) -> float:
    """The q of the most specific range that matches `wanted`; JSON where nothing is said."""
    ranges = {wanted: 3, wanted.split("/", maxsplit=1)[0] + "/*": 2, "*/*": 1}
    best = (0, 0.0)
    for item in accept.split(","):
        media_range, _, parameters = item.partition(";")
        specific = ranges.get(media_range.strip().lower(), 0)
        if specific > best[0]:
            best = (specific, _q(parameters))
    return best[1]


def _q(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
