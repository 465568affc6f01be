"""Whose image is next: classes take turns by weight, tasks of one class take turns image by image.

Within a class every image has a stored key: the key that was reached when its task was submitted,
and its own number in the task on top. So the first image of a new task comes after at most one of
each other task, however many images these have.

Between classes there is one clock of turns. A class that has waiting images is due a stride after
the turn at which it was last served, or seen to be empty; the one that is due first is served, and
the clock stands at its turn (self-clocked fair queueing: Golestani, INFOCOM 1994). With strides of
1, 2 and 8, `high` is next as soon as it comes, and of 13 images 8 are `high`, 4 `normal`, 1 `low`
while all three wait. Were the weight part of the stored key, an image at `high` would wait for all
tasks of one image that came before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sightline.tasks.task import Priority

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
RANKS: Mapping[Priority, int] = {name: rank for rank, name in enumerate(PRIORITIES)}
STRIDES: Mapping[Priority, int] = {"high": 1, "normal": 2, "low": 8}


def order_key(reached: int, number: int) -> int:
    """The key of a task's image `number` (from 0), its class having reached the key `reached`."""
    return reached + number + 1


class Turns:
    """The clock of turns, and when each class is due; None for one without waiting images."""

    def __init__(self, clock: int, due: Mapping[Priority, int | None]) -> None:
        self.clock = clock
        self.due: dict[Priority, int | None] = dict(due)

    def leave(self, empty: Collection[Priority]) -> None:
        """These classes have nothing that waits: they save up no turns."""
        self.due |= dict.fromkeys(empty)

    def next(self, waiting: Collection[Priority]) -> Priority:
        """The class of those `waiting` that is due first; if several are, the highest of them."""
        for name in waiting:
            if self.due[name] is None:
                self.due[name] = self.clock + STRIDES[name]
        return min(waiting, key=lambda name: (self.due[name], RANKS[name]))

    def serve(self, name: Priority) -> None:
        """The class has had its turn."""
        self.clock = max(self.clock, self.due[name] or 0)
        self.due[name] = self.clock + STRIDES[name]


def ahead(priority: Priority, before: int, waiting: Mapping[Priority, int]) -> int:
    """About how many images are served before one that has `before` others before it in its class.

    Args:
        priority: its class.
        before: images of that class with lower keys.
        waiting: images of each class.
    """
    others = (
        min(waiting.get(name, 0), (before + 1) * STRIDES[priority] // STRIDES[name])
        for name in PRIORITIES
        if name != priority
    )
    return before + sum(others)
