"""YOLOv5 and YOLOv7: anchor-based, with objectness, boxes decoded inside the graph.

Format: the `Detect` layer of the yolov5 and yolov7 (`--grid`) exporters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightline.models.families.base import Candidates, Family, Outline, table
from sightline.vision.boxes import cxcywh_to_xyxy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ANCHORS_A_CELL = 3


def recognises_objectness(outline: Outline, anchors_a_cell: int) -> bool:
    """Whether the one output is [N, cells * anchors, 5 + classes] for this input size."""
    match outline.only_output():
        case (int(rows), int(columns)):
            fits = rows in {cells * anchors_a_cell for cells in outline.anchor_counts}
            return fits and columns >= 6
        case (None, int(columns)):
            return columns >= 6
        case _:
            return False


def objectness_classes(outline: Outline, form: str) -> int | None:
    """Number of classes of an output [N, rows, 5 + classes]; None if its shape does not tell.

    Raises:
        ValueError: it is not of that form.
    """
    sizes = outline.only_output()
    if sizes is None or (sizes[1] is not None and sizes[1] < 6):
        raise ValueError(form)
    return None if sizes[1] is None else sizes[1] - 5


class YoloV5(Family):
    """One output [N, 3 * cells, 5 + classes]: cx, cy, w, h in input pixels, objectness, scores."""

    form = "[N,3*cells,5+classes]"
    overlaps = True
    iou = 0.45

    def recognises(self, outline: Outline) -> bool:
        return not outline.suppresses and recognises_objectness(outline, _ANCHORS_A_CELL)

    def classes(self, outline: Outline) -> int | None:
        return objectness_classes(outline, self.form)

    def decode(
        self,
        outputs: Sequence[NDArray[np.float32]],
        input_size: tuple[int, int],
        confidence: float,
    ) -> Candidates:
        del input_size
        rows = table(outputs, 6)
        kept, scores, class_ids = best_class(rows, confidence)
        return Candidates(cxcywh_to_xyxy(rows[kept, :4]), scores, class_ids)


def best_class(
    rows: NDArray[np.float32], confidence: float
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.int64]]:
    """Rows whose objectness times best class score is at least `confidence`.

    Args:
        rows: [N, 5 + classes]: box, objectness, a score a class.
        confidence: 0..1.

    Returns:
        Their indices [M], scores float32 [M] and class ids int64 [M].
    """
    likely = np.flatnonzero(rows[:, 4] >= confidence)  # a class score is at most 1
    class_ids = rows[likely, 5:].argmax(axis=1)
    scores = rows[likely, 4] * rows[likely, 5 + class_ids]
    kept = scores >= confidence
    return likely[kept], np.minimum(scores[kept], 1), class_ids[kept]
