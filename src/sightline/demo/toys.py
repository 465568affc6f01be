"""The six toys of scenes. Each is drawn within -1..1, upright, facing right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightline.demo.pen import Colour, Pen, Sprite, ellipse, rounded

if TYPE_CHECKING:
    from collections.abc import Callable

_PALETTE: tuple[Colour, ...] = (
    (48, 52, 222),
    (36, 130, 245),
    (40, 205, 250),
    (80, 185, 70),
    (170, 180, 40),
    (225, 140, 45),
    (190, 75, 130),
    (170, 110, 240),
    (205, 190, 100),
)
_WHITE: Colour = (245, 248, 250)
_INK: Colour = (45, 38, 35)
_RUBBER: Colour = (52, 48, 46)
_GLASS: Colour = (245, 225, 180)


def draw_toy(
    name: str, look: int, size: float, angle: float, light: tuple[float, float] = (-0.6, -0.7)
) -> Sprite:
    """Draw one toy on a transparent canvas.

    Args:
        name: one of `CLASSES`.
        look: seed of its colours and details.
        size: pixels across.
        angle: degrees, clockwise.
        light: x and y of the light's direction, -1..1.
    """
    rng = np.random.default_rng(look)
    # Only blocks have letters, which must not be mirrored.
    pen = Pen(size, angle, mirror=bool(rng.integers(2)) and name != "block")
    colours = [_PALETTE[i] for i in rng.permutation(len(_PALETTE))]
    gloss = _TOYS[name](pen, rng, colours)
    return pen.lit(light, gloss)


def _ball(pen: Pen, rng: np.random.Generator, colours: list[Colour]) -> float:
    outline = ellipse(0, 0, 0.96, 0.96)
    pen.solid(outline, colours[0], bulge=0.96)
    match rng.integers(3):
        case 0:  # a beach ball: panels around a pole that looks at us askew
            pole = rng.uniform(-0.3, 0.3, 2)
            for i in range(6):
                turn = np.linspace(i, i + 1, 8) * np.pi / 3
                rim = np.stack([np.cos(turn), np.sin(turn)], 1)
                panel = np.concatenate([[pole], rim])
                pen.paint(panel, _WHITE if i % 2 else colours[i // 2])
            pen.paint(ellipse(pole[0], pole[1], 0.16, 0.16), _WHITE)
        case 1:  # a broad band between two thin ones
            for y, ry, colour in (
                (0.0, 0.3, colours[1]),
                (-0.5, 0.07, _WHITE),
                (0.5, 0.07, _WHITE),
            ):
                across = np.linspace(-1, 1, 20)
                sag = 0.22 * np.sqrt(1 - across**2)
                upper = np.stack([across, y - ry + sag], 1)
                pen.paint(np.concatenate([upper, upper[::-1] + np.array([0, 2 * ry])]), colour)
        case _:  # dots, smaller towards the rim as on a sphere
            pen.paint(ellipse(0, 0, 0.24, 0.24), colours[1])
            for i in range(6):
                x, y = 0.62 * np.cos(i * np.pi / 3), 0.62 * np.sin(i * np.pi / 3)
                pen.paint(ellipse(x, y, 0.14, 0.2, i * 60), colours[1 + i % 2])
    return float(rng.uniform(0.45, 0.8))


_LETTERS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((-0.32, 0.4), (0, -0.4), (0.32, 0.4), (0.18, 0.1), (-0.18, 0.1)),
    ((-0.3, -0.4), (0.3, -0.4), (-0.3, 0.4), (0.3, 0.4)),
    ((-0.3, 0.4), (-0.3, -0.4), (0.3, 0.4), (0.3, -0.4)),
    ((-0.32, -0.4), (-0.16, 0.4), (0, -0.1), (0.16, 0.4), (0.32, -0.4)),
    ((0.28, -0.4), (-0.28, -0.4), (-0.28, 0), (0.1, 0), (-0.28, 0), (-0.28, 0.4), (0.28, 0.4)),
)


def _block(pen: Pen, rng: np.random.Generator, colours: list[Colour]) -> float:
    wood: Colour = (150, 200, 232)
    frame = colours[0]
    top = np.array([(-0.95, -0.5), (-0.5, -0.95), (0.95, -0.95), (0.5, -0.5)])
    side = np.array([(0.5, -0.5), (0.95, -0.95), (0.95, 0.5), (0.5, 0.95)])
    front = np.array([(-0.95, -0.5), (0.5, -0.5), (0.5, 0.95), (-0.95, 0.95)])
    pen.solid(top, _mix(frame, _WHITE, 0.45), bulge=0.06)
    pen.solid(side, _mix(frame, _INK, 0.35), bulge=0.06)
    pen.solid(front, frame, bulge=0.07)
    for face, tint in ((top, 0.3), (side, -0.25), (front, 0.0)):
        colour = _mix(wood, _WHITE, tint) if tint >= 0 else _mix(wood, _INK, -tint)
        pen.paint(face.mean(0) + (face - face.mean(0)) * 0.74, colour)
    letter = np.array(_LETTERS[int(rng.integers(len(_LETTERS)))]) * 1.1 + front.mean(0)
    pen.stroke(letter, colours[1], 0.19)
    return 0.12


def _car(pen: Pen, rng: np.random.Generator, colours: list[Colour]) -> float:
    paint, roof = colours[0], _mix(colours[0], _WHITE, 0.25)
    pen.solid(
        rounded(
            [(-0.68, -0.02), (-0.5, -0.62), (0.22, -0.62), (0.6, 0.02), (0.5, 0.2), (-0.6, 0.2)], 2
        ),
        roof,
        bulge=0.22,
    )
    pen.solid(
        rounded(
            [
                (-1.05, -0.12),
                (-0.4, -0.16),
                (0.5, -0.14),
                (1.04, 0.02),
                (1.06, 0.42),
                (-1.06, 0.42),
            ],
            2,
        ),
        paint,
        bulge=0.25,
    )
    pen.paint(rounded([(-0.56, -0.1), (-0.43, -0.48), (-0.12, -0.48), (-0.12, -0.1)], 1), _GLASS)
    pen.paint(rounded([(-0.02, -0.1), (-0.02, -0.48), (0.17, -0.48), (0.43, -0.1)], 1), _GLASS)
    if rng.integers(2):
        pen.paint(np.array([(-1, 0.1), (1, 0.14), (1, 0.25), (-1, 0.22)]), colours[1])
    else:
        pen.solid(ellipse(-0.07, 0.12, 0.19, 0.19), _WHITE, bulge=0.05)
        pen.stroke(np.array([(-0.07, 0.02), (-0.07, 0.22)]), _INK, 0.07)
    pen.solid(ellipse(0.92, 0.1, 0.08, 0.1), (150, 240, 255), bulge=0.1)
    pen.solid(ellipse(-0.95, 0.1, 0.06, 0.09), (50, 50, 230), bulge=0.1)
    for x in (-0.55, 0.55):
        pen.solid(ellipse(x, 0.4, 0.3, 0.3), _RUBBER, bulge=0.1)
        pen.solid(ellipse(x, 0.4, 0.17, 0.17), (205, 205, 205), bulge=0.08)
        pen.paint(ellipse(x, 0.4, 0.06, 0.06), _RUBBER)
    return float(rng.uniform(0.4, 0.7))


def _duck(pen: Pen, rng: np.random.Generator, colours: list[Colour]) -> float:
    hue = _mix((45, 210, 252), colours[0], 0.25 if rng.integers(3) == 0 else 0.0)
    pen.solid(
        rounded(
            [
                (-1.02, -0.28),
                (-0.6, 0.0),
                (0.1, 0.0),
                (0.75, 0.02),
                (0.9, 0.5),
                (0.4, 0.98),
                (-0.5, 0.98),
                (-0.95, 0.5),
            ],
        ),
        hue,
        bulge=0.5,
    )
    beak = (30, 120, 245)
    pen.solid(rounded([(0.55, -0.5), (1.04, -0.42), (1.0, -0.28), (0.55, -0.2)], 2), beak, 0.12)
    pen.solid(ellipse(0.3, -0.42, 0.5, 0.5), hue, bulge=0.48)
    pen.stroke(np.array([(0.66, -0.34), (0.96, -0.36)]), _mix(beak, _INK, 0.4), 0.04)
    pen.solid(
        rounded([(-0.62, 0.2), (0.1, 0.16), (0.34, 0.34), (0.0, 0.66), (-0.45, 0.6)]),
        _mix(hue, (30, 150, 240), 0.35),
        bulge=0.2,
    )
    pen.paint(ellipse(0.48, -0.54, 0.13, 0.15), _WHITE)
    pen.paint(ellipse(0.51, -0.53, 0.075, 0.09), _INK)
    pen.paint(ellipse(0.54, -0.57, 0.025, 0.03), _WHITE)
    if rng.integers(2):  # a bow tie, or a sailor's cap
        pen.paint(ellipse(0.28, 0.05, 0.34, 0.08), colours[1])
    else:
        pen.solid(rounded([(-0.02, -0.8), (0.08, -1.02), (0.5, -1.02), (0.58, -0.8)], 1), _WHITE)
        pen.paint(
            np.array([(-0.05, -0.87), (0.6, -0.87), (0.6, -0.78), (-0.05, -0.78)]), colours[1]
        )
    return float(rng.uniform(0.35, 0.7))


def _rocket(pen: Pen, rng: np.random.Generator, colours: list[Colour]) -> float:
    hull = _mix(colours[0], _WHITE, float(rng.choice([0.0, 0.85])))
    trim = colours[1]
    pen.solid(
        rounded([(-0.2, 0.6), (0.2, 0.6), (0.13, 1.06), (0, 0.86), (-0.13, 1.06)], 1),
        (40, 150, 255),
    )
    pen.paint(rounded([(-0.1, 0.6), (0.1, 0.6), (0, 0.95)], 2), (120, 235, 255))
    for mirror in (-1, 1):
        fin = np.array([(0.2, 0.2), (0.62, 0.5), (0.66, 0.92), (0.2, 0.66)]) * [mirror, 1]
        pen.solid(fin, _mix(trim, _INK, 0.12), bulge=0.08)
    pen.solid(
        rounded(
            [
                (0, -1.12),
                (0.3, -0.62),
                (0.4, 0),
                (0.3, 0.72),
                (-0.3, 0.72),
                (-0.4, 0),
                (-0.3, -0.62),
            ],
            2,
        ),
        hull,
        bulge=0.36,
    )
    pen.paint(np.array([(-0.5, -0.56), (0.5, -0.56), (0.3, -1.2), (-0.3, -1.2)]), trim)
    pen.paint(np.array([(-0.5, 0.36), (0.5, 0.36), (0.5, 0.5), (-0.5, 0.5)]), trim)
    for y, radius in ((-0.22, 0.2), (0.16, 0.11)):
        pen.solid(ellipse(0, y, radius, radius), (190, 190, 190), bulge=0.06)
        pen.paint(ellipse(0, y, radius * 0.7, radius * 0.7), (220, 160, 70))
        pen.paint(ellipse(-radius * 0.2, y - radius * 0.2, radius * 0.2, radius * 0.2), _WHITE)
    pen.solid(np.array([(-0.04, 0.3), (0.04, 0.3), (0.04, 0.9), (-0.04, 0.9)]), trim, bulge=0.05)
    return float(rng.uniform(0.3, 0.6))


def _star(pen: Pen, rng: np.random.Generator, colours: list[Colour]) -> float:
    hue = colours[0]
    turn = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2, 0.52, 1.16)
    tips = np.stack([radius * np.cos(turn), radius * np.sin(turn) + 0.06], 1)
    pen.solid(rounded([(float(x), float(y)) for x, y in tips], 2), hue, bulge=0.34)
    if rng.integers(2):
        seam = _mix(hue, _INK, 0.35)
        for x, y in tips[::2] * 0.72:
            pen.stroke(np.array([(x * 0.62, y * 0.62), (x, y)]), seam, 0.035)
    else:
        for x, y in tips[::2] * 0.62:
            pen.paint(ellipse(x, y, 0.09, 0.09), _mix(hue, _WHITE, 0.6))
    for x in (-0.17, 0.17):
        pen.paint(ellipse(x, -0.07, 0.075, 0.11), _INK)
        pen.paint(ellipse(x + 0.02, -0.11, 0.025, 0.03), _WHITE)
        pen.paint(ellipse(x * 1.9, 0.1, 0.08, 0.05), (150, 140, 250), 0.7)
    smile = np.linspace(0.15, 0.85, 9) * np.pi
    pen.stroke(np.stack([0.17 * np.cos(smile), 0.08 + 0.14 * np.sin(smile)], 1), _INK, 0.045)
    return float(rng.uniform(0.08, 0.3))


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    b, g, r = (round(a + (o - a) * share) for a, o in zip(colour, other, strict=True))
    return b, g, r


_TOYS: dict[str, Callable[[Pen, np.random.Generator, list[Colour]], float]] = {
    "ball": _ball,
    "block": _block,
    "car": _car,
    "duck": _duck,
    "rocket": _rocket,
    "star": _star,
}

CLASSES: tuple[str, ...] = tuple(_TOYS)
"""Names of the toys, by class id."""
