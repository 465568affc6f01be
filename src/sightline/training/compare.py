"""Comparison of two models: accuracy, agreement, size, speed."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Self

import numpy as np

from sightline.models.digest import weight_bytes
from sightline.serving.detector import Detector
from sightline.training.evaluate import (
    LEAST_CONFIDENCE,
    Agreement,
    ImageTruth,
    Score,
    agreement,
    mean_average_precision,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sightline.training.quantize import Progress
    from sightline.types import Detections

_LEAST_TIMED = 50  # engine calls per model: a median of fewer is too noisy on a busy machine


@dataclass(frozen=True, slots=True)
class Side:
    """Measurements of one of the two models.

    Attributes:
        precision: the precision in use.
        mb: of its files, 10^6 bytes.
        ms: median time of one engine call with one picture, on this machine.
        score: on the labelled pictures; None where there are none.
    """

    precision: str
    mb: float
    ms: float
    score: Score | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Measurements of both models on the same pictures.

    Attributes:
        before: the reference.
        after: the other model.
        agreement: of their boxes.
        pictures: number of pictures.
        labelled: number of pictures with labels.
    """

    before: Side
    after: Side
    agreement: Agreement
    pictures: int
    labelled: int


def compare(
    before: Path,
    after: Path,
    pictures: Sequence[Path],
    truths: Mapping[Path, ImageTruth],
    confidence: float,
    *,
    max_pixels: int,
    progress: Progress = lambda _done, _all: None,
) -> Comparison:
    """Run two models on the same pictures, on OpenVINO and the CPU.

    They take turns, so that other load on the machine affects both alike.

    Args:
        before, after: the files of the reference and of the other model.
        pictures: all readable, at least one.
        truths: labels of any of the pictures.
        confidence: lowest confidence of the boxes that should agree, 0..1.
        max_pixels: most pixels of a picture.
        progress: called after each picture that both have processed.
    """
    count = len(pictures)
    steps = ceil(_LEAST_TIMED / count) * count
    with _Run(before, max_pixels) as reference, _Run(after, max_pixels) as other:
        for step in range(steps):
            for run in (reference, other):
                run.detect(pictures[step % count])
            progress(step + 1, steps)
    return Comparison(
        before=reference.side(pictures, truths),
        after=other.side(pictures, truths),
        agreement=agreement(reference.answers[:count], other.answers[:count], confidence),
        pictures=count,
        labelled=len(truths),
    )


class _Run:
    """A model's detector, its answers, and its inference times in milliseconds."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self._path = path
        self._detector = Detector(path, engine="openvino", device="cpu", max_pixels=max_pixels)
        self._times: list[float] = []
        self.answers: list[Detections] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._detector.close()

    def detect(self, picture: Path) -> None:
        result = self._detector.submit(picture, confidence=LEAST_CONFIDENCE).result()
        self.answers.append(result.detections)
        self._times.append(result.timing.inference_ms)

    def side(self, pictures: Sequence[Path], truths: Mapping[Path, ImageTruth]) -> Side:
        return Side(
            precision=self._detector.precision,
            mb=weight_bytes(self._path) / 1e6,
            ms=float(np.median(self._times)),
            score=_score(pictures, truths, self.answers),
        )


def _score(
    pictures: Sequence[Path], truths: Mapping[Path, ImageTruth], answers: Sequence[Detections]
) -> Score | None:
    pairs = [
        (truths[picture], answer)
        for picture, answer in zip(pictures, answers, strict=False)  # repetitions are for the times
        if picture in truths
    ]
    if not pairs:
        return None
    return mean_average_precision([truth for truth, _ in pairs], [answer for _, answer in pairs])
