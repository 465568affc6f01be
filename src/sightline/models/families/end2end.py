"""YOLOv10, YOLO26 and any Ultralytics export with NMS inside the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightline.models.families.base import MAX_QUERIES, Candidates, Family, Outline, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class End2End(Family):
    """One output [N, rows, 6]: x1, y1, x2, y2 in input pixels, score, class id."""

    form = "[N,rows,6]"
    overlaps = False
    iou = 1.0

    def recognises(self, outline: Outline) -> bool:
        if "RTDETR" in str(outline.metadata.get("head", "")):
            return False
        grid = outline.anchor_counts
        match outline.only_output():
            case (int(rows), 6):
                return outline.suppresses or (
                    rows <= MAX_QUERIES and rows not in grid | {3 * cells for cells in grid}
                )
            case (None, 6):
                return outline.suppresses
            case _:
                return False

    def classes(self, outline: Outline) -> int | None:
        sizes = outline.only_output()
        if sizes is None or sizes[1] not in {6, None}:
            raise ValueError(self.form)
        return None

    def decode(
        self,
        outputs: Sequence[NDArray[np.float32]],
        input_size: tuple[int, int],
        confidence: float,
    ) -> Candidates:
        del input_size
        rows = table(outputs, 6)
        # Unused rows are zero: without area, they are left out even at confidence 0.
        used = (rows[:, 4] >= confidence) & (rows[:, 2:4] > rows[:, :2]).all(axis=1)
        rows = rows[used]
        return Candidates(rows[:, :4], np.clip(rows[:, 4], 0, 1), rows[:, 5].astype(np.int64))
