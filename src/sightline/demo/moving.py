"""Moving scenes: toys that cross the picture and hide each other, each with a track id."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import atan2, cos, degrees, hypot, pi, sin
from typing import TYPE_CHECKING

import numpy as np

from sightline.demo.scenes import SIZES, random_toy, require_size
from sightline.demo.table import Table, Toy
from sightline.demo.toys import CLASSES
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sightline.demo.truth import Scene

_CROWD = (4, 7)  # toys in motion at once, least and most
_CROSSING = (4.0, 9.0)  # seconds that a toy takes from edge to edge
_AT_START = (0.25, 0.75)  # share of its way that a toy has covered in the first frame


@dataclass(frozen=True, slots=True)
class _Journey:
    """A toy's motion, from the place of `toy` at `start` seconds until `end` seconds.

    Attributes:
        velocity: x and y, pixels per second.
        spin: degrees per second.
        sway: amplitude of its rocking in degrees, once per second.
        depth: drawing order; toys with more depth lie on top.
    """

    toy: Toy
    velocity: tuple[float, float]
    start: float
    end: float
    spin: float
    sway: float
    depth: float

    def at(self, now: float) -> Toy:
        gone = now - self.start
        return replace(
            self.toy,
            x=self.toy.x + self.velocity[0] * gone,
            y=self.toy.y + self.velocity[1] * gone,
            angle=self.toy.angle + self.spin * gone + self.sway * sin(2 * pi * gone),
        )


class MovingScene:
    """A scene of toys that move across a table, of any length.

    Args:
        seed: the same seed, size and rate give the same pixels.
        width: of the frames, pixels.
        height: of the frames, pixels.
        fps: frames a second, 1..120.

    Raises:
        ConfigError: a side, the seed or the rate is out of its range.
    """

    def __init__(self, seed: int, width: int = 640, height: int = 480, fps: float = 25.0) -> None:
        require_size(seed, width, height)
        if not 1 <= fps <= 120:
            raise ConfigError(f"fps is {fps:g}: it must lie in 1..120")
        self.seed, self.width, self.height, self.fps = seed, width, height, fps

    def frames(self, count: int | None = None) -> Iterator[Scene]:
        """The first `count` frames, or endless frames; each call starts from the beginning.

        A toy keeps its `track_id` while it moves, also through frames in which it is hidden and not
        in the truth. Ids are never reused.
        """
        rng = np.random.default_rng(self.seed)
        table = Table(rng, self.width, self.height)
        crowd = int(rng.integers(_CROWD[0], _CROWD[1] + 1))
        ways = [self._journey(rng, number, 0.0, True) for number in range(1, crowd + 1)]
        next_number = crowd + 1
        index = 0
        while count is None or index < count:
            now = index / self.fps
            for place, way in enumerate(ways):
                if now > way.end:
                    ways[place] = self._journey(rng, next_number, now, False)
                    next_number += 1
            toys = [way.at(now) for way in sorted(ways, key=lambda way: way.depth)]
            yield table.picture(np.random.default_rng((self.seed, index)), toys)
            index += 1

    def _journey(
        self, rng: np.random.Generator, number: int, now: float, at_start: bool
    ) -> _Journey:
        """A straight path from outside the picture, through a point near its middle, and out."""
        toy = random_toy(rng, self.width, self.height, number)
        heading = float(rng.uniform(0, 2 * pi))
        reach = hypot(self.width, self.height) / 2 + SIZES[1] * hypot(self.width, self.height) / 2
        seconds = float(rng.uniform(*_CROSSING))
        speed = 2 * reach / seconds
        through = (
            self.width * float(rng.uniform(0.25, 0.75)),
            self.height * float(rng.uniform(0.25, 0.75)),
        )
        begun = now - seconds * float(rng.uniform(*_AT_START)) if at_start else now
        x, y = (
            at - part * reach
            for at, part in zip(through, (cos(heading), sin(heading)), strict=True)
        )
        angle, spin, sway = _manner(rng, CLASSES[toy.class_id], heading, speed, toy)
        return _Journey(
            toy=replace(toy, x=x, y=y, angle=angle),
            velocity=(speed * cos(heading), speed * sin(heading)),
            start=begun,
            end=begun + seconds,
            spin=spin,
            sway=sway,
            depth=float(rng.uniform()),
        )


def _manner(
    rng: np.random.Generator, name: str, heading: float, speed: float, toy: Toy
) -> tuple[float, float, float]:
    """A toy's initial angle, spin and sway, in degrees (per second), by its class."""
    if name == "ball":  # rolls
        return toy.angle, degrees(speed / (toy.size / 2)) * (1 if cos(heading) > 0 else -1), 0.0
    if name == "rocket":  # flies ahead
        return degrees(atan2(cos(heading), -sin(heading))), 0.0, 3.0
    if name in {"star", "block"}:  # tumbles
        return toy.angle, float(rng.uniform(-50, 50)), 0.0
    return float(rng.uniform(-15, 15)), 0.0, 6.0
