"""Postprocessing: one image's raw outputs to Detections in source pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import InferenceError
from sightline.models.families import FAMILIES
from sightline.types import Detections
from sightline.vision.boxes import nms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sightline.models.families.base import Candidates
    from sightline.types import DetectOptions, ModelSpec
    from sightline.vision.letterbox import Placement


def to_detections(
    outputs: list[NDArray[np.float32]],
    spec: ModelSpec,
    input_size: tuple[int, int],
    placement: Placement,
    options: DetectOptions,
) -> Detections:
    """Decode and filter boxes, suppress duplicates, and map them to the source picture.

    Args:
        outputs: of the network, float32, without the batch dimension.
        spec: of the model.
        input_size: (height, width) of the network's input, in pixels.
        placement: of the picture in that input.
        options: of the request.

    Raises:
        InferenceError: the outputs do not fit the model family, or contain unknown classes.
    """
    found = _decode(outputs, spec, input_size, options.confidence)
    finite = np.isfinite(found.boxes).all(axis=1)
    wanted = finite if options.classes is None else finite & _of(found, options.classes)
    boxes, scores, class_ids = found.boxes[wanted], found.scores[wanted], found.class_ids[wanted]
    family = FAMILIES[spec.family]
    if family.overlaps:
        threshold = family.iou if options.iou is None else options.iou
        kept = nms(boxes, scores, class_ids, threshold, options.max_detections)
    else:
        kept = np.argsort(-scores, kind="stable")[: options.max_detections]
    return Detections(
        boxes=placement.to_source(boxes[kept]),
        confidence=scores[kept],
        class_id=class_ids[kept],
        labels=spec.labels,
        width=placement.width,
        height=placement.height,
    )


def _decode(
    outputs: list[NDArray[np.float32]],
    spec: ModelSpec,
    input_size: tuple[int, int],
    confidence: float,
) -> Candidates:
    try:
        with np.errstate(all="ignore"):  # infinite sizes are dropped by the caller
            found = FAMILIES[spec.family].decode(outputs, input_size, confidence)
    except ValueError as error:
        raise InferenceError(f"{spec.name} is not of family {spec.family}: {error}.") from error
    class_ids = found.class_ids
    if class_ids.max(initial=0) >= len(spec.labels) or class_ids.min(initial=0) < 0:
        raise InferenceError(
            f"{spec.name} answered class {class_ids.max()}, but {len(spec.labels)} labels are "
            "known. Name them all in a model.toml beside the model."
        )
    return found


def _of(found: Candidates, classes: frozenset[int]) -> NDArray[np.bool_]:
    return np.isin(found.class_ids, list(classes))
