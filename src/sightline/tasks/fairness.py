"""Fair order of images: weighted turns between priority classes, round robin between tasks.

Within a class every image has a stored order key: the largest key that was claimed when its task
was submitted, plus its number in the task. So at most one image of each other task comes before the
first image of a new task, however many images these tasks have.

The classes share one clock of turns. A class with waiting images is due one stride after the turn
at which it was last served or seen empty. The class that is due first is served, and the clock
moves to that turn (self-clocked fair queueing: Golestani, INFOCOM 1994). With strides of 1, 2 and
8, a `high` image is next as soon as it arrives, and of 13 images 8 are `high`, 4 `normal`, 1 `low`
while all three classes have images. The weight is not part of the stored key: a `high` image would
then wait for every task of one image that came before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sightline.tasks.task import Priority

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
RANKS: Mapping[Priority, int] = {name: rank for rank, name in enumerate(PRIORITIES)}
STRIDES: Mapping[Priority, int] = {"high": 1, "normal": 2, "low": 8}


def order_key(reached: int, number: int) -> int:
    """The order key of image `number` (from 0) of a task whose class has reached key `reached`."""
    return reached + number + 1


class Turns:
    """The clock of turns, and the turn at which each class is due; None if nothing waits in it."""

    def __init__(self, clock: int, due: Mapping[Priority, int | None]) -> None:
        self.clock = clock
        self.due: dict[Priority, int | None] = dict(due)

    def leave(self, empty: Collection[Priority]) -> None:
        """Reset the classes without waiting images: they earn no credit while they are empty."""
        self.due |= dict.fromkeys(empty)

    def next(self, waiting: Collection[Priority]) -> Priority:
        """The class of `waiting` that is due first; the highest one of several."""
        for name in waiting:
            if self.due[name] is None:
                self.due[name] = self.clock + STRIDES[name]
        return min(waiting, key=lambda name: (self.due[name], RANKS[name]))

    def serve(self, name: Priority) -> None:
        """Advance the clock: one image of this class is served."""
        self.clock = max(self.clock, self.due[name] or 0)
        self.due[name] = self.clock + STRIDES[name]


def ahead(priority: Priority, before: int, waiting: Mapping[Priority, int]) -> int:
    """Estimate of how many images are served before a given one.

    Args:
        priority: the class of the image.
        before: number of images of that class with lower keys.
        waiting: number of images of each class.
    """
    others = (
        min(waiting.get(name, 0), (before + 1) * STRIDES[priority] // STRIDES[name])
        for name in PRIORITIES
        if name != priority
    )
    return before + sum(others)
