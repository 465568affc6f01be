"""How fast pictures go through, as measured, to predict a wait."""

from __future__ import annotations

_WEIGHT = 0.1  # of the newest picture in the running means


class Pace:
    """Exponential means of what a picture costs each stage.

    Used from many threads without a lock: a lost update moves a mean a little, and nothing else.
    """

    def __init__(self, workers: int) -> None:
        """Nothing is predicted before the first picture has gone through."""
        self._workers = workers
        self._vision = 0.0
        self._inference = 0.0

    def note(self, vision: float, inference: float) -> None:
        """One picture took so many seconds of the vision pool, and of the engine.

        Args:
            vision: decoding and reading the outputs.
            inference: its share of an engine call.
        """
        self._vision = _mean(self._vision, vision)
        self._inference = _mean(self._inference, inference)

    def seconds(self, pictures: int) -> float:
        """Until so many pictures are through: the slower of the two stages sets the pace."""
        return pictures * max(self._inference, self._vision / self._workers)


def _mean(old: float, new: float) -> float:
    return new if old == 0 else old + _WEIGHT * (new - old)
