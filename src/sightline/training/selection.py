"""Split of pictures into those for calibration and those for measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sightline.errors import ImageError
from sightline.vision.decode import decode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FEW = 20
"""Fewer pictures get a warning, and are not split: all are for both."""

_HELD_OUT = 5  # one picture in five is held out for measurement
_MOST_MEASURED = 200  # of the pictures that are held out


@dataclass(frozen=True, slots=True)
class Selection:
    """Pictures for calibration and for measurement; at least one of each."""

    calibration: list[Path]
    measured: list[Path]

    @property
    def apart(self) -> bool:
        """Whether no picture is for both."""
        return not set(self.calibration) & set(self.measured)


def readable(paths: Iterable[Path], max_pixels: int) -> tuple[list[Path], dict[Path, str]]:
    """Split `paths` into those that can be decoded, and the others with the reason."""
    good: list[Path] = []
    bad: dict[Path, str] = {}
    for path in paths:
        try:
            decode(path.read_bytes(), max_pixels)
        except ImageError as error:
            bad[path] = str(error)
        except OSError as error:
            bad[path] = str(error.strerror)
        else:
            good.append(path)
    return good, bad


def select(pictures: list[Path], measured: list[Path] | None, most: int) -> Selection:
    """Select pictures for calibration and measurement.

    Args:
        pictures: at least one.
        measured: pictures for measurement; if None, a fifth of `pictures` is held out, or all are
            for both if there are fewer than `FEW`.
        most: pictures for calibration, at least 1.
    """
    if measured is None and len(pictures) >= FEW:
        measured = _spread(pictures[::_HELD_OUT], _MOST_MEASURED)
        pictures = [path for index, path in enumerate(pictures) if index % _HELD_OUT]
    return Selection(_spread(pictures, most), pictures if measured is None else measured)


def _spread(paths: list[Path], most: int) -> list[Path]:
    """At most `most` of `paths`, evenly spaced: neighbours are often alike."""
    if len(paths) <= most:
        return paths
    return [paths[index * len(paths) // most] for index in range(most)]
