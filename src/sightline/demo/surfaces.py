"""Backgrounds of scenes: wood, cloth, paper, carpet, tiles, or a colour gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def draw_surface(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """A background, float32 [height, width, 3] BGR, about 0..255, before lighting and lens."""
    kind = _SURFACES[int(rng.integers(len(_SURFACES)))]
    return kind(rng, width, height)


def _noise(
    rng: np.random.Generator, width: int, height: int, across: float, down: float
) -> NDArray[np.float32]:
    """Smooth noise about -1..1, float32 [height, width], with that many bumps across and down."""
    grid = (max(int(down), 2), max(int(across), 2))
    coarse = rng.uniform(-1, 1, grid).astype(np.float32)
    return np.asarray(
        cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32
    )


def _colour(rng: np.random.Generator, choices: list[tuple[int, int, int]]) -> NDArray[np.float32]:
    base = np.array(choices[int(rng.integers(len(choices)))], np.float32)
    return np.asarray(base + rng.uniform(-14, 14, 3), np.float32)


def _unit(width: int, height: int) -> float:
    """A length relative to the picture's size: a hundredth of its short side, pixels."""
    return min(width, height) / 100


def _wood(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    base = _colour(rng, [(90, 140, 190), (60, 100, 150), (130, 175, 210), (50, 75, 110)])
    planks = int(rng.integers(3, 8))
    y = np.linspace(0, planks, height, dtype=np.float32)[:, None]
    plank = np.minimum(y.astype(np.int64), planks - 1)
    tone = rng.uniform(-0.12, 0.12, planks).astype(np.float32)[plank]
    shift = rng.uniform(0, 40, planks).astype(np.float32)[plank]
    warp = _noise(rng, width, height, 4, planks * 3)
    rings = np.sin((y % 1) * 26 + shift + warp * 5)
    fibre = _noise(rng, width, height, 24, height / 2)
    share = 1 + tone + 0.06 * rings + 0.06 * fibre + 0.05 * warp
    gap = np.abs((y % 1) - 0.5) > 0.5 - 0.012
    board = (share * np.where(gap, 0.55, 1))[..., None] * base
    if rng.integers(2) and width == height:
        board = board.transpose(1, 0, 2)
    return np.ascontiguousarray(board, np.float32)


def _cloth(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    base = _colour(rng, [(150, 110, 80), (110, 130, 170), (190, 195, 200), (120, 150, 120)])
    other = _colour(rng, [(225, 230, 235), (70, 60, 110), (110, 90, 60)])
    pitch = _unit(width, height) * float(rng.uniform(5, 12))
    x = np.arange(width, dtype=np.float32)[None] / pitch
    y = np.arange(height, dtype=np.float32)[:, None] / pitch
    check = 0.3 * ((x % 2 < 1).astype(np.float32) + (y % 2 < 1).astype(np.float32))
    if rng.integers(3) == 0:
        check = np.zeros((height, width), np.float32)
    weave = 0.05 * np.sin(x * 30) * np.sin(y * 30)
    folds = 0.10 * _noise(rng, width, height, 4, 3)
    mixed = base + (other - base) * check[..., None]
    return np.asarray(mixed * (1 + weave + folds)[..., None], np.float32)


def _paper(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    base = _colour(rng, [(225, 232, 236), (200, 222, 235), (215, 205, 195), (190, 215, 205)])
    grain = 0.02 * _noise(rng, width, height, width / 2, height / 2)
    cloud = 0.05 * _noise(rng, width, height, 5, 4)
    sheet = (1 + grain + cloud)[..., None] * base
    if rng.integers(2):  # ruled
        step = max(int(_unit(width, height) * rng.uniform(6, 9)), 3)
        sheet[step::step] *= np.array([1.0, 0.9, 0.82], np.float32)
    return np.asarray(sheet, np.float32)


def _carpet(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    base = _colour(rng, [(70, 80, 130), (110, 90, 70), (95, 120, 110), (130, 130, 140)])
    fine = max(_unit(width, height), 1.0)
    tufts = _noise(rng, width, height, width / fine, height / fine)
    patches = _noise(rng, width, height, 9, 7)
    return np.asarray((1 + 0.2 * tufts + 0.12 * patches)[..., None] * base, np.float32)


def _tiles(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    base = _colour(rng, [(190, 200, 205), (150, 160, 150), (170, 150, 130), (120, 130, 150)])
    pitch = _unit(width, height) * float(rng.uniform(18, 36))
    x = (np.arange(width) + rng.uniform(0, pitch)) / pitch
    y = (np.arange(height) + rng.uniform(0, pitch)) / pitch
    tone = rng.uniform(-0.1, 0.1, (int(y[-1]) + 1, int(x[-1]) + 1)).astype(np.float32)
    share = 1 + tone[y.astype(int)[:, None], x.astype(int)[None]]
    share += 0.05 * _noise(rng, width, height, 12, 9)
    grout = ((x % 1 < 0.03)[None] | (y % 1 < 0.03)[:, None])[..., None]
    tiles = share[..., None] * base
    return np.asarray(np.where(grout, base * 0.6 + 20, tiles), np.float32)


def _sweep(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    start, end = rng.uniform(50, 235, (2, 3)).astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None] * np.float32(np.cos(turn))
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * np.float32(np.sin(turn))
    share = np.clip(0.5 + 0.8 * (x + y), 0, 1) + 0.03 * _noise(rng, width, height, 6, 5)
    return np.asarray(start + (end - start) * share[..., None], np.float32)


_SURFACES: tuple[Callable[[np.random.Generator, int, int], NDArray[np.float32]], ...] = (
    _wood,
    _cloth,
    _paper,
    _carpet,
    _tiles,
    _sweep,
)
