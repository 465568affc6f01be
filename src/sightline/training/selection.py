"""Which pictures a model is calibrated with, and which it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sightline.errors import ImageError
from sightline.vision.decode import decode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FEW = 20
"""Fewer pictures are few to calibrate with, and too few to keep some of them back."""

_HELD_OUT = 5  # one picture in so many is kept back to measure on
_MOST_MEASURED = 200  # of the pictures that are kept back


@dataclass(frozen=True, slots=True)
class Selection:
    """The pictures that are calibrated with and those that are measured on; at least one each."""

    calibration: list[Path]
    measured: list[Path]

    @property
    def apart(self) -> bool:
        """Whether no picture is both."""
        return not set(self.calibration) & set(self.measured)


def readable(paths: Iterable[Path], max_pixels: int) -> tuple[list[Path], dict[Path, str]]:
    """Those of `paths` that can be decoded, and why the others cannot."""
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
    """At most `most` of `pictures` to calibrate with.

    Args:
        pictures: at least one.
        measured: where None, a fifth of `pictures` is kept back to measure on, if there are
            `FEW` or more, else all of them are both.
        most: at least 1.
    """
    if measured is None and len(pictures) >= FEW:
        measured = _spread(pictures[::_HELD_OUT], _MOST_MEASURED)
        pictures = [path for index, path in enumerate(pictures) if index % _HELD_OUT]
    return Selection(_spread(pictures, most), pictures if measured is None else measured)


def _spread(paths: list[Path], most: int) -> list[Path]:
    """At most `most` of `paths`, evenly from all of them: neighbours look alike."""
    if len(paths) <= most:
        return paths
    return [paths[index * len(paths) // most] for index in range(most)]
