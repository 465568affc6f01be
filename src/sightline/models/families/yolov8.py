"""YOLOv8, v9, 11, 12 (and v5u, v3u): anchor-free, class scores without objectness.

Format: Ultralytics `Detect` head as exported to ONNX without NMS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightline.models.families.base import Candidates, Family, Outline, table
from sightline.vision.boxes import cxcywh_to_xyxy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class YoloV8(Family):
    """One output [N, 4 + classes, cells]: cx, cy, w, h in input pixels, then a score a class."""

    form = "[N,4+classes,cells]"
    overlaps = True
    iou = 0.7

    def recognises(self, outline: Outline) -> bool:
        match outline.only_output():
            case (int(rows), None):
                return rows >= 5
            case (int(rows), int(cells)):
                return rows >= 5 and (cells in outline.anchor_counts or outline.labels == rows - 4)
            case _:
                return False

    def classes(self, outline: Outline) -> int | None:
        sizes = outline.only_output()
        if sizes is None or (sizes[0] is not None and sizes[0] < 5):
            raise ValueError(self.form)
        return None if sizes[0] is None else sizes[0] - 4

    def decode(
        self,
        outputs: Sequence[NDArray[np.float32]],
        input_size: tuple[int, int],
        confidence: float,
    ) -> Candidates:
        del input_size
        rows = table([output.T for output in outputs], 5).T
        scores = rows[4:]
        best = scores.max(axis=0)
        kept = np.flatnonzero(best >= confidence)
        return Candidates(
            boxes=cxcywh_to_xyxy(rows[:4, kept].T),
            scores=np.minimum(best[kept], 1),
            class_ids=scores[:, kept].argmax(axis=0),
        )
