"""YOLOX: anchor-free with objectness; boxes are decoded from grid cells here.

Format: Megvii's `tools/export_onnx.py`; decoding as in its `demo_postprocess`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.models.families.base import Candidates, Family, Outline, strides_of, table
from sightline.models.families.yolov5 import (
    best_class,
    objectness_classes,
    recognises_objectness,
)
from sightline.vision.boxes import cxcywh_to_xyxy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LARGEST_EXPONENT = 20.0  # e^20 input pixels is far beyond any picture, and still finite


class Yolox(Family):
    """One output [N, cells, 5 + classes]: offsets and log sizes in strides, objectness, scores."""

    form = "[N,cells,5+classes]"
    overlaps = True
    iou = 0.45

    def recognises(self, outline: Outline) -> bool:
        return not outline.suppresses and recognises_objectness(outline, 1)

    def classes(self, outline: Outline) -> int | None:
        return objectness_classes(outline, self.form)

    def preprocessing(self, outline: Outline) -> dict[str, Any]:
        del outline
        return {"anchor": "top-left", "colour": "bgr", "std": (1.0, 1.0, 1.0)}

    def decode(
        self,
        outputs: Sequence[NDArray[np.float32]],
        input_size: tuple[int, int],
        confidence: float,
    ) -> Candidates:
        rows = table(outputs, 6)
        cells = _cells(input_size, strides_of(input_size, len(rows)))
        kept, scores, class_ids = best_class(rows, confidence)
        corner, stride = cells[kept, :2], cells[kept, 2:]
        centre = (rows[kept, :2] + corner) * stride
        size = np.exp(np.minimum(rows[kept, 2:4], _LARGEST_EXPONENT)) * stride
        return Candidates(cxcywh_to_xyxy(np.hstack((centre, size))), scores, class_ids)


@lru_cache(maxsize=64)
def _cells(input_size: tuple[int, int], strides: tuple[int, ...]) -> NDArray[np.float32]:
    """float32 [cells, 3]: column, row and stride of each cell, finest grid first."""
    height, width = input_size
    grids = []
    for stride in strides:
        rows, columns = np.mgrid[: -(-height // stride), : -(-width // stride)]
        grids.append(np.stack((columns, rows, np.full_like(rows, stride)), axis=-1).reshape(-1, 3))
    return np.concatenate(grids).astype(np.float32)
