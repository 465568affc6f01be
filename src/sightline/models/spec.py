"""Derives a ModelSpec from a model file: metadata and output shapes, overridden by `model.toml`."""

from __future__ import annotations

import logging
import tomllib
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightline.errors import ModelError
from sightline.models.families import FAMILIES, recognise
from sightline.models.families.base import Outline
from sightline.models.graph import Graph, input_size, read_graph
from sightline.models.labels import COCO80, COCO91, default_labels
from sightline.types import Anchor, ColourOrder, FamilyName, ModelSpec, ResizeMode

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger("sightline")

_Positive = Annotated[int, Field(ge=1)]


class ModelToml(BaseModel):
    """Content of a `model.toml` (or NAME.toml beside NAME.onnx); see `ModelSpec` for units."""

    model_config = ConfigDict(extra="forbid", strict=True)

    family: FamilyName | None = None
    labels: list[str] | Literal["coco", "coco91"] | None = None
    input_size: tuple[_Positive, _Positive] | None = Field(default=None, strict=False)
    stride: _Positive | None = None
    resize: ResizeMode | None = None
    anchor: Anchor | None = None
    pad: Annotated[int, Field(ge=0, le=255)] | None = None
    colour: ColourOrder | None = None
    mean: tuple[float, float, float] | None = Field(default=None, strict=False)
    std: tuple[float, float, float] | None = Field(default=None, strict=False)


def read_spec(path: Path) -> ModelSpec:
    """The ModelSpec of the model at `path`.

    Raises:
        ModelError: the file cannot be read, or is not a detector of a supported family; the
            message names the shapes and says what to do.
    """
    graph = read_graph(path)
    toml = _read_toml(path)
    try:
        return _resolve(path.stem, graph, toml)
    except (ModelError, ValueError) as error:
        raise ModelError(f"{path} cannot be served: {error}") from error


def _resolve(name: str, graph: Graph, toml: ModelToml) -> ModelSpec:
    shape = _input_shape(graph)
    _require_detector(graph)
    size = toml.input_size or input_size(shape, graph.metadata)
    if any(fixed not in {None, side} for fixed, side in zip(shape[2:], size, strict=True)):
        raise ModelError(f"its input {graph.inputs[0]} is fixed; input_size cannot be {size}")
    labels = _labels(graph, toml)
    outline = Outline(graph.outputs, size, None if labels is None else len(labels), graph.metadata)
    family_name = toml.family or recognise(outline)
    family = FAMILIES[family_name]
    try:
        classes = family.classes(outline)
    except ValueError as form:
        raise ModelError(
            f"its outputs {outline} are not of the {family_name} form {form}"
        ) from None
    if labels is None and classes is None:
        _log.warning(
            "%s neither names its classes nor tells how many: COCO's 80 are assumed. "
            "Name its own in a model.toml beside it.",
            name,
        )
    labels = labels or default_labels(classes or len(COCO80))
    if classes is not None and classes != len(labels):
        raise ModelError(
            f"its outputs {outline} tell of {classes} classes, but {len(labels)} labels are named"
        )
    fields = family.preprocessing(outline) | toml.model_dump(exclude_none=True)
    fields |= {"name": name, "family": family_name, "labels": labels, "input_size": size}
    fields.setdefault("stride", _stride(graph))
    return ModelSpec(dynamic=None in shape[2:], batch=shape[0], **fields)


def _input_shape(graph: Graph) -> tuple[int | None, ...]:
    shown = " and ".join(str(tensor) for tensor in graph.inputs) or "nothing"
    if len(graph.inputs) != 1:
        raise ModelError(f"it wants {len(graph.inputs)} inputs ({shown}), not one picture")
    shape = graph.inputs[0].shape
    if len(shape) != 4 or shape[1] not in {3, None}:
        raise ModelError(f"its input {shown} is not a picture [N,3,height,width]")
    return shape


def _require_detector(graph: Graph) -> None:
    task = graph.metadata.get("task", "detect")
    if task != "detect":
        raise ModelError(f"it is a model for '{task}', not for detection")


def _labels(graph: Graph, toml: ModelToml) -> tuple[str, ...] | None:
    match toml.labels:
        case "coco":
            return COCO80
        case "coco91":
            return COCO91
        case list():
            return tuple(toml.labels)
    match graph.metadata.get("names"):
        case dict() as names:
            ordered = sorted(names.items(), key=lambda item: int(item[0]))
            return tuple(str(label) for _, label in ordered)
        case list() | tuple() as names:
            return tuple(str(label) for label in names)
        case _:
            return None


def _stride(graph: Graph) -> int:
    match graph.metadata.get("stride", 32):
        case int(stride) if stride > 0:
            return stride
        case list() | tuple() as strides if strides and all(type(s) is int for s in strides):
            return int(max(strides))
        case other:
            raise ModelError(f"its metadata has stride {other!r}, not a number of pixels")


def _read_toml(path: Path) -> ModelToml:
    for candidate in (path.with_suffix(".toml"), path.with_name("model.toml")):
        if candidate.is_file():
            return _parse_toml(candidate)
    return ModelToml()


def _parse_toml(path: Path) -> ModelToml:
    try:
        return ModelToml.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not readable TOML: {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        key = problem["loc"][0] if problem["loc"] else "?"
        known = ", ".join(ModelToml.model_fields)
        raise ModelError(f"{path}: '{key}': {problem['msg']}; keys are: {known}") from error
