"""Families: how a network's outputs mean boxes.

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


def _likeliest(fitting: list[FamilyName], outline: Outline) -> list[FamilyName]:
    """Of several families that fit, those that fit without stretching the imagination.

    On small inputs the sizes of different grids and class counts coincide.
    """
    plain = replace(outline, stride_sets=outline.stride_sets[:1])
    counts = {name: FAMILIES[name].classes(outline) for name in fitting}
    for preferred in (
        [name for name in fitting if counts[name] == outline.labels],
        [name for name in fitting if FAMILIES[name].recognises(plain)],
        [name for name in fitting if counts[name] == len(COCO80)],
    ):
        if len(fitting) > 1:
            fitting = [name for name in fitting if name in preferred] or fitting
    return fitting


def recognise(outline: Outline) -> FamilyName:
    """The one family that outputs of these shapes can belong to.

    Raises:
        ModelError: none fits, or more than one does; the message names the shapes.
    """
    fitting = _likeliest(
        [name for name, family in FAMILIES.items() if family.recognises(outline)], outline
    )
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ModelError(
            f"its outputs {outline} fit more than one family ({', '.join(fitting)}): say which "
            'in a model.toml beside it, for example: family = "yolov5"'
        )
    forms = "; ".join(f"{name} {family.form}" for name, family in FAMILIES.items())
    raise ModelError(
        f"its outputs {outline} fit no detection family that is read ({forms}). "
        "If it is a detector, export it with its boxes decoded to one of these forms"
    )
