"""How fast pictures go through, as measured, to predict a wait."""

from __future__ import annotations

_WEIGHT = 0.1  # of the newest picture in the running means


class Pace:
    """Exponential means of what a picture costs. Written by one thread, read by any."""

    def __init__(self, decoders: int) -> None:
        """Nothing is predicted before the first picture has gone through."""
        self._decoders = decoders
        self._decode = 0.0
        self._inference = 0.0

    def note(self, decode: float, inference: float) -> None:
        """One picture took so many seconds to decode, and so many in its engine call."""
        self._decode = _mean(self._decode, decode)
        self._inference = _mean(self._inference, inference)

    def seconds(self, pictures: int) -> float:
        """Until so many pictures are through: the slower of the two stages sets the pace."""
        return pictures * max(self._inference, self._decode / self._decoders)


def _mean(old: float, new: float) -> float:
    return new if old == 0 else old + _WEIGHT * (new - old)
