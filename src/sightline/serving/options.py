"""Validates the options of a request against the model."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from sightline.errors import BadOption
from sightline.types import DetectOptions, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_DETECTIONS = 1000


def make_options(
    spec: ModelSpec,
    confidence: float,
    iou: float | None,
    classes: Iterable[int | str] | None,
    max_detections: int,
) -> DetectOptions:
    """Validated options for one picture.

    Raises:
        BadOption: a value is out of range, or the model has no such class.
    """
    _require_fraction("confidence", confidence)
    if iou is not None:
        _require_fraction("iou", iou)
    if not 1 <= max_detections <= MAX_DETECTIONS:
        raise BadOption(f"max_detections must lie in 1..{MAX_DETECTIONS}, not {max_detections}.")
    if isinstance(classes, str):
        classes = [classes]
    ids = None if classes is None else class_ids(spec.name, spec.labels, classes)
    return DetectOptions(confidence, iou, ids, max_detections)


def _require_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:  # false for NaN too
        raise BadOption(f"{name} must lie in 0..1, not {value}.")


def class_ids(model: str, labels: Sequence[str], classes: Iterable[int | str]) -> frozenset[int]:
    """The ids of `classes`, each a label or an id of the model.

    Raises:
        BadOption: one is neither.
    """
    return frozenset(_class_id(model, labels, wanted) for wanted in classes)


def _class_id(model: str, labels: Sequence[str], wanted: int | str) -> int:
    if isinstance(wanted, str) and wanted in labels:
        return labels.index(wanted)
    text = str(wanted)
    if not text:
        raise BadOption("classes names an empty class; leave it out to get all of them.")
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) < len(labels):
        return int(text)
    close = get_close_matches(text, labels, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    example = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
    raise BadOption(
        f"{model} knows no class '{text[:80]}'.{hint} It knows {len(labels)}: {example} "
        f"(or ids 0..{len(labels) - 1})."
    )
