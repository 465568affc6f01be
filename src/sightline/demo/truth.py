"""Ground truth of scenes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.demo.toys import CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sightline.types import BGRImage

LEAST_VISIBLE = 0.3
"""Least visible share of a toy's area; toys with less are not in the truth."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The toys of one picture, in drawing order, lowest first.

    A box is tight around the visible part of a toy, without parts that are hidden or outside the
    picture, as in hand-labelled photographs.

    Attributes:
        boxes: float32 [N, 4] xyxy, pixels, inside the picture.
        class_id: int64 [N], indices into `CLASSES`.
        track_id: int64 [N]; constant for a toy through a video.
        visible: float32 [N], visible share of the toy's area, `LEAST_VISIBLE`..1.
    """

    boxes: NDArray[np.float32]
    class_id: NDArray[np.int64]
    track_id: NDArray[np.int64]
    visible: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict per toy, with the keys of `POST /detect`, ready for JSON."""
        return [
            {
                "label": CLASSES[class_id],
                "class_id": class_id,
                "track_id": track_id,
                "visible": round(visible, 3),
                "bbox": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
            }
            for box, class_id, track_id, visible in zip(
                self.boxes.tolist(),
                self.class_id.tolist(),
                self.track_id.tolist(),
                self.visible.tolist(),
                strict=True,
            )
        ]


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, uint8 [height, width, 3] BGR, and its truth."""

    image: BGRImage
    truth: Truth
