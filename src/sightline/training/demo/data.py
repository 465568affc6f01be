"""Training scenes: generated once on all cores, and kept in memory letterboxed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from sightline.demo.scenes import make_scene
from sightline.demo.toys import CLASSES
from sightline.types import ModelSpec
from sightline.vision.letterbox import fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

FIRST_SEED = 1_000_000
"""First seed of training scenes; lower seeds are for tests and users."""

SPEC = ModelSpec("demo", "yolov8", CLASSES, input_size=(320, 320), dynamic=True)
"""The demo model's spec: training letterboxes pictures as the service will."""

# width, height, share; mostly small pictures, which cost least, and some that shrink fourfold
_SIZES = (
    (320, 240, 0.2),
    (400, 300, 0.12),
    (300, 400, 0.14),
    (320, 320, 0.1),
    (384, 216, 0.14),
    (640, 480, 0.12),
    (480, 640, 0.08),
    (1280, 720, 0.1),
)


@dataclass(frozen=True, slots=True)
class Example:
    """A letterboxed picture, uint8 [H, W, 3] BGR; boxes float32 [N, 4] in its pixels; classes."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_id: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures float32 [B, 3, H, W] RGB 0..1; boxes [B, toys, 4]; classes [B, toys], -1 is none."""

    pictures: Tensor
    boxes: Tensor
    class_id: Tensor


def make_example(seed: int) -> Example:
    """The letterboxed scene of `seed`, which decides its size too."""
    sizes = np.array(_SIZES)
    # not the scene's own random numbers, or each size would have one kind of surface
    row = np.random.default_rng((seed, 1)).choice(len(sizes), p=sizes[:, 2] / sizes[:, 2].sum())
    scene = make_scene(seed, int(sizes[row, 0]), int(sizes[row, 1]))
    image, place = fit(scene.image, SPEC)
    boxes = scene.truth.boxes * np.array(place.scale * 2) + np.array(place.offset * 2)
    return Example(image, boxes.astype(np.float32), scene.truth.class_id)


def make_examples(count: int, workers: int) -> Iterator[Example]:
    """`count` examples, made by `workers` processes."""
    # spawn, because forking a process that has started PyTorch's threads can hang
    with get_context("spawn").Pool(workers, cv2.setNumThreads, (1,)) as pool:
        yield from pool.imap(make_example, range(FIRST_SEED, FIRST_SEED + count), chunksize=32)


def batches(examples: list[Example], size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Every example once, in batches of one shape, flipped at random."""
    shapes: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index in rng.permutation(len(examples)).tolist():
        shapes[examples[index].image.shape].append(index)
    groups = [
        members[start : start + size]
        for members in shapes.values()
        for start in range(0, len(members), size)
    ]
    for group in rng.permutation(len(groups)).tolist():
        yield _collate([_flipped(examples[index], rng) for index in groups[group]], rng)


def _flipped(example: Example, rng: np.random.Generator) -> Example:
    image, boxes = example.image, example.boxes.copy()
    height, width = image.shape[:2]
    if rng.integers(2):
        image = image[:, ::-1]
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    if rng.integers(2):
        image = image[::-1]
        boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
    return Example(image, boxes, example.class_id)


def _collate(examples: list[Example], rng: np.random.Generator) -> Batch:
    toys = max(1, *(len(example.boxes) for example in examples))
    boxes = np.zeros((len(examples), toys, 4), np.float32)
    class_id = np.full((len(examples), toys), -1, np.int64)
    for row, example in enumerate(examples):
        boxes[row, : len(example.boxes)] = example.boxes
        class_id[row, : len(example.boxes)] = example.class_id
    pixels = np.stack([example.image for example in examples])[..., ::-1]
    pictures = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    light = torch.from_numpy(rng.uniform(0.85, 1.15, (len(examples), 3, 1, 1)).astype(np.float32))
    return Batch(
        (pictures.float() / 255 * light).clamp(0, 1),
        torch.from_numpy(boxes),
        torch.from_numpy(class_id),
    )
