"""Still scenes: pictures of toys with their truth, generated from a seed and a size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightline.demo.table import Table, Toy
from sightline.demo.toys import CLASSES
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sightline.demo.truth import Scene

SMALLEST, LARGEST = 64, 8192
"""Sides of a picture, pixels."""

SIZES = (0.14, 0.36)
"""Least and greatest size of a toy, as a share of the picture's middle side (root of its area)."""

_LEAST_SHOWN = 0.55  # least visible share of each toy, so that every one can be recognised
_TRIES = 12


def make_scene(seed: int, width: int = 640, height: int = 480) -> Scene:
    """Generate a scene of toys on a table.

    Args:
        seed: the same seed and size give the same pixels.
        width: of the picture, pixels, `SMALLEST`..`LARGEST`.
        height: of the picture, pixels, `SMALLEST`..`LARGEST`.

    Raises:
        ConfigError: a side, or the seed, is out of range.
    """
    require_size(seed, width, height)
    rng = np.random.default_rng(seed)
    table = Table(rng, width, height)
    return table.picture(rng, _lay(rng, table))


def require_size(seed: int, width: int, height: int) -> None:
    """Raise ConfigError if the seed or a side is out of range."""
    for name, side in (("width", width), ("height", height)):
        if not SMALLEST <= side <= LARGEST:
            raise ConfigError(
                f"{name} is {side}: a scene has {SMALLEST} to {LARGEST} pixels a side"
            )
    if seed < 0:
        raise ConfigError(f"seed is {seed}: it must be 0 or more")


def random_toy(rng: np.random.Generator, width: int, height: int, track_id: int) -> Toy:
    """A toy of any class, somewhere in the picture."""
    low, high = np.log(SIZES)
    return Toy(
        class_id=int(rng.integers(len(CLASSES))),
        look=int(rng.integers(2**31)),
        x=float(rng.uniform(0.02, 0.98)) * width,
        y=float(rng.uniform(0.02, 0.98)) * height,
        size=float(np.exp(rng.uniform(low, high))) * float(np.sqrt(width * height)),
        angle=float(rng.uniform(0, 360)),
        track_id=track_id,
    )


def _lay(rng: np.random.Generator, table: Table) -> list[Toy]:
    """Toys that overlap, each visible by at least `_LEAST_SHOWN`; the last lies on top."""
    toys: list[Toy] = []
    shown: list[NDArray[np.bool_]] = []
    full: list[int] = []
    for track_id in range(1, int(rng.integers(2, 11)) + 1):
        for _ in range(_TRIES):
            toy = random_toy(rng, table.width, table.height, track_id)
            cover = _cover(table, toy)
            if cover is None:
                continue
            mask, whole = cover
            left = [np.count_nonzero(below & ~mask) for below in shown]
            left.append(np.count_nonzero(mask))
            if all(n >= _LEAST_SHOWN * all_ for n, all_ in zip(left, [*full, whole], strict=True)):
                shown = [below & ~mask for below in shown]
                toys.append(toy)
                shown.append(mask)
                full.append(whole)
                break
    return toys


def _cover(table: Table, toy: Toy) -> tuple[NDArray[np.bool_], int] | None:
    """Pixels that `toy` covers, bool [height, width], and its whole area, also outside."""
    stamp = table.stamp(toy)
    if stamp is None:
        return None
    mask = np.zeros((table.height, table.width), np.bool_)
    mask[stamp.area] = stamp.alpha > 0.5
    return mask, stamp.full
