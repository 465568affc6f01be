"""RT-DETR, D-FINE, RF-DETR: queries with class logits and normalised boxes, no duplicates.

Formats: the Hugging Face exports (`logits`, `pred_boxes`), RF-DETR's own (`dets`, `labels`), and
Ultralytics' RT-DETR (one output, scores already 0..1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.models.families.base import MAX_QUERIES, Candidates, Family, Outline
from sightline.vision.boxes import cxcywh_to_xyxy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_RF_DETR_OUTPUTS = {"dets", "labels"}
_WITH_NO_OBJECT = 92  # the first DETR: softmax over COCO's 91 ids and "no object"
_IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB pixels 0..255
_IMAGENET_STD = (58.395, 57.12, 57.375)


class Detr(Family):
    """Boxes [N, queries, 4] (cx, cy, w, h in 0..1) and logits [N, queries, classes]."""

    form = "boxes [N,queries,4] and logits [N,queries,classes]"
    overlaps = False
    iou = 1.0

    def recognises(self, outline: Outline) -> bool:
        try:
            classes = self.classes(outline)
        except ValueError:
            return False
        if len(outline.outputs) == 2:
            return True
        sizes = outline.only_output()
        rows = None if sizes is None else sizes[0]
        few = rows is None or (rows <= MAX_QUERIES and rows not in outline.anchor_counts)
        named = classes == outline.labels
        return few and named and (classes != 2 or "RTDETR" in str(outline.metadata.get("head")))

    def classes(self, outline: Outline) -> int | None:
        sizes = outline.only_output()
        if sizes is not None and sizes[1] is not None and sizes[1] >= 5:
            return sizes[1] - 4
        shapes = [output.shape for output in outline.outputs]
        if len(shapes) != 2 or any(len(shape) != 3 for shape in shapes):
            raise ValueError(self.form)
        if shapes[0][1] != shapes[1][1] or 4 not in {shape[2] for shape in shapes}:
            raise ValueError(self.form)
        logits = [shape[2] for shape in shapes if shape[2] != 4]
        if _WITH_NO_OBJECT in logits:
            raise ValueError(self.form + ", each class's logit its own (sigmoid, not softmax)")
        return logits[0] if logits else 4

    def preprocessing(self, outline: Outline) -> dict[str, Any]:
        stretched: dict[str, Any] = {"resize": "stretch"}
        if {output.name for output in outline.outputs} == _RF_DETR_OUTPUTS:
            stretched |= {"mean": _IMAGENET_MEAN, "std": _IMAGENET_STD}
        return stretched

    def decode(
        self,
        outputs: Sequence[NDArray[np.float32]],
        input_size: tuple[int, int],
        confidence: float,
    ) -> Candidates:
        boxes, scores = _boxes_and_scores(outputs)
        # One query may give boxes of several classes, as in the upstream post-processing.
        queries, class_ids = np.nonzero(scores >= confidence)
        height, width = input_size
        size = np.array((width, height, width, height), np.float32)
        return Candidates(
            boxes=cxcywh_to_xyxy(boxes[queries]) * size,
            scores=np.clip(scores[queries, class_ids], 0, 1),
            class_ids=class_ids.astype(np.int64),
        )


def _boxes_and_scores(
    outputs: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if len(outputs) == 1 and outputs[0].ndim == 2 and outputs[0].shape[1] >= 5:
        return outputs[0][:, :4], outputs[0][:, 4:]
    shapes = [list(output.shape) for output in outputs]
    if len(outputs) != 2 or any(output.ndim != 2 for output in outputs):
        raise ValueError(f"outputs {shapes} are not boxes and logits")
    first, second = outputs
    # With four classes both have four columns; only logits can be negative.
    if first.shape[1] != 4 or (second.shape[1] == 4 and first.min(initial=0) < 0):
        first, second = second, first
    if first.shape[1] != 4 or len(first) != len(second):
        raise ValueError(f"outputs {shapes} are not boxes and logits")
    one = np.float32(1)
    with np.errstate(over="ignore"):
        return first, one / (one + np.exp(-second))
