"""Families: the output formats of detection networks, recognised by shape and metadata.

A new family is one file with one class (see `base.Family`) and one line in `FAMILIES`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sightline.errors import ModelError
from sightline.models.families.detr import Detr
from sightline.models.families.end2end import End2End
from sightline.models.families.yolov5 import YoloV5
from sightline.models.families.yolov8 import YoloV8
from sightline.models.families.yolox import Yolox
from sightline.models.labels import COCO80

if TYPE_CHECKING:
    from sightline.models.families.base import Family, Outline
    from sightline.types import FamilyName

FAMILIES: dict[FamilyName, Family] = {
    "yolov8": YoloV8(),
    "yolov5": YoloV5(),
    "yolox": Yolox(),
    "end2end": End2End(),
    "detr": Detr(),
}


def _likeliest(matching: list[FamilyName], outline: Outline) -> list[FamilyName]:
    """The most likely of several families that match.

    On small inputs the row counts of different grids, and class counts, coincide.
    """
    plain = replace(outline, stride_sets=outline.stride_sets[:1])
    counts = {name: FAMILIES[name].classes(outline) for name in matching}
    for preferred in (
        [name for name in matching if counts[name] == outline.labels],
        [name for name in matching if FAMILIES[name].recognises(plain)],
        [name for name in matching if counts[name] == len(COCO80)],
    ):
        if len(matching) > 1:
            matching = [name for name in matching if name in preferred] or matching
    return matching


def recognise(outline: Outline) -> FamilyName:
    """The one family that matches these outputs.

    Raises:
        ModelError: none matches, or several do; the message names the shapes.
    """
    matching = _likeliest(
        [name for name, family in FAMILIES.items() if family.recognises(outline)], outline
    )
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ModelError(
            f"its outputs {outline} fit more than one family ({', '.join(matching)}): say which "
            'in a model.toml beside it, for example: family = "yolov5"'
        )
    forms = "; ".join(f"{name} {family.form}" for name, family in FAMILIES.items())
    raise ModelError(
        f"its outputs {outline} fit no detection family that is read ({forms}). "
        "If it is a detector, export it with its boxes decoded to one of these forms"
    )
