"""The model catalogue: address, licence and accuracy of each model that is known by name.

Figures are those that the authors publish: mAP@50:95 on COCO val2017 at the given input size.
Figures that are not published, or not certain, are None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sightline.errors import ModelError

if TYPE_CHECKING:
    from sightline.types import FamilyName

DEFAULT = "yolox-tiny"

_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/"
_HUB = "hf://onnx-community/"

_DFINE_TOML = 'family = "detr"\nlabels = "coco"\ninput_size = [640, 640]\nresize = "stretch"\n'
# The exported file does not say how pixels are scaled; RF-DETR was trained with ImageNet's values.
_RFDETR_TOML = """\
family = "detr"
labels = "coco91"
input_size = [{size}, {size}]
resize = "stretch"
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
"""


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model that `--model` and `sightline pull` take by name.

    Attributes:
        name: lower case, with dashes.
        address: `https://` or `hf://`; None where the model is not fetched but exported.
        family: the format of its outputs.
        licence: SPDX identifier of the weights' licence.
        input_size: side of the square input, in pixels.
        map: mAP@50:95 on COCO val2017, in percent.
        parameters: in millions.
        size: of the file, in MB (10^6 bytes).
        note: a short remark for the list of models.
        toml: content of its `model.toml`, for what the file itself does not say.
    """

    name: str
    address: str | None
    family: FamilyName
    licence: str
    input_size: int
    map: float | None
    parameters: float | None
    size: float | None
    note: str = ""
    toml: str = ""

    def require_address(self) -> str:
        """The address to fetch it from.

        Raises:
            ModelError: it is not fetched; the message says what its licence requires and which
                commands export the file.
        """
        if self.address is None:
            raise ModelError(
                f"{self.name} is not fetched: Ultralytics' weights are under AGPL-3.0. As they "
                "read it, whoever serves them over a network publishes the whole service's source "
                "under the same licence, or buys theirs. If that suits you, in an environment of "
                "its own: pip install ultralytics && yolo export "
                f"model={self.name}.pt format=onnx dynamic=True, then --model {self.name}.onnx"
            )
        return self.address


def _yolox(
    name: str, size: int, accuracy: float, parameters: float, megabytes: float | None
) -> CatalogueEntry:
    return CatalogueEntry(
        name=f"yolox-{name}",
        address=f"{_YOLOX}yolox_{name}.onnx",
        family="yolox",
        licence="Apache-2.0",
        input_size=size,
        map=accuracy,
        parameters=parameters,
        size=megabytes,
        note="served where no model is named" if f"yolox-{name}" == DEFAULT else "",
    )


def _dfine(name: str, accuracy: float, parameters: float, megabytes: float) -> CatalogueEntry:
    return CatalogueEntry(
        name=f"dfine-{name}",
        address=f"{_HUB}dfine_{name}_coco-ONNX/onnx/model.onnx",
        family="detr",
        licence="Apache-2.0",
        input_size=640,
        map=accuracy,
        parameters=parameters,
        size=megabytes,
        toml=_DFINE_TOML,
    )


def _rfdetr(
    name: str, size: int, accuracy: float, parameters: float, megabytes: float | None
) -> CatalogueEntry:
    return CatalogueEntry(
        name=f"rfdetr-{name}",
        address=f"{_HUB}rfdetr_{name}-ONNX/onnx/model.onnx",
        family="detr",
        licence="Apache-2.0",
        input_size=size,
        map=accuracy,
        parameters=parameters,
        size=megabytes,
        toml=_RFDETR_TOML.format(size=size),
    )


def _ultralytics(
    name: str, family: FamilyName, accuracy: float, parameters: float, note: str = ""
) -> CatalogueEntry:
    return CatalogueEntry(
        name=name,
        address=None,
        family=family,
        licence="AGPL-3.0",
        input_size=640,
        map=accuracy,
        parameters=parameters,
        size=None,
        note="; ".join(filter(None, ("exported, not fetched", note))),
    )


_ENTRIES = (
    _yolox("nano", 416, 25.8, 0.91, 3.7),
    _yolox("tiny", 416, 32.8, 5.06, 20.2),
    _yolox("s", 640, 40.5, 9.0, 35.9),
    _yolox("m", 640, 46.9, 25.3, None),
    _yolox("l", 640, 49.7, 54.2, 216.7),
    _yolox("x", 640, 51.1, 99.1, 396.1),
    _dfine("n", 42.8, 4, 15.3),
    _dfine("s", 48.5, 10, 41.5),
    _dfine("m", 52.3, 19, 78.6),
    _dfine("l", 54.0, 31, 125.3),
    _dfine("x", 55.8, 62, 251.1),
    _rfdetr("nano", 384, 48.4, 30.5, 108.1),
    _rfdetr("small", 512, 53.0, 32.1, 114.7),
    _rfdetr("medium", 576, 54.7, 33.7, None),
    _ultralytics("yolov8n", "yolov8", 37.3, 3.2),
    _ultralytics("yolov8s", "yolov8", 44.9, 11.2),
    _ultralytics("yolo11n", "yolov8", 39.5, 2.6),
    _ultralytics("yolo11s", "yolov8", 47.0, 9.4),
    _ultralytics("yolo26n", "end2end", 40.1, 2.4, "mAP without NMS, as it is served"),
    _ultralytics("yolo26s", "end2end", 47.8, 9.5, "mAP without NMS, as it is served"),
)

CATALOGUE = {entry.name: entry for entry in _ENTRIES}
