"""Model file readers: inputs, outputs and metadata, without the weights."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ET  # nosec B405
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import onnx
import yaml
from onnx import shape_inference

from sightline.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

Shape: TypeAlias = tuple[int | None, ...]
"""A tensor's shape; None where the size is free."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A network's input or output."""

    name: str
    shape: Shape

    def __str__(self) -> str:
        return f"{self.name}[{','.join('?' if n is None else str(n) for n in self.shape)}]"


@dataclass(frozen=True, slots=True)
class Graph:
    """A network's inputs, outputs and metadata.

    Attributes:
        inputs: without the weights.
        outputs: in the file's order.
        metadata: as written by the exporter; the keys are Ultralytics' (`names`, `stride`,
            `imgsz`, `task`, …), other exporters write none.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, object]


def read_graph(path: Path) -> Graph:
    """Read inputs, outputs and metadata of the network at `path`.

    Raises:
        ModelError: no such file, an unknown type, or unreadable; the message says what to do.
    """
    if path.suffix == ".pt":
        raise ModelError(
            f"{path} is a PyTorch file, and loading one runs code that it carries. Export it "
            f"first (in an environment with Ultralytics): yolo export model={path} format=onnx "
            "dynamic=True"
        )
    if path.suffix not in {".onnx", ".xml"}:
        raise ModelError(f"{path} is no model that can be read; give an .onnx or OpenVINO .xml")
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise ModelError(f"model {path} {what}")
    return _read_onnx(path) if path.suffix == ".onnx" else _read_openvino(path)


def _read_onnx(path: Path) -> Graph:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise ModelError(f"{path} is not a readable ONNX file: {error}") from error
    if not model.graph.output:
        raise ModelError(f"{path} is not a readable ONNX file: it has no outputs")
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = tuple(_tensor(value) for value in model.graph.input if value.name not in weights)
    metadata = {found.key: _literal(found.value) for found in model.metadata_props}
    outputs = tuple(_tensor(value) for value in model.graph.output)
    if any(None in output.shape[1:] or not output.shape for output in outputs):
        outputs = _infer_outputs(model, inputs, metadata) or outputs
    return Graph(inputs, outputs, metadata)


def _tensor(value: onnx.ValueInfoProto) -> TensorInfo:
    dims = value.type.tensor_type.shape.dim
    return TensorInfo(value.name, tuple(dim.dim_value or None for dim in dims))


def _infer_outputs(
    model: onnx.ModelProto, inputs: tuple[TensorInfo, ...], metadata: dict[str, object]
) -> tuple[TensorInfo, ...] | None:
    """Output shapes at the default input size, by ONNX shape inference; None if it cannot tell."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        return None
    size = input_size(inputs[0].shape, metadata)
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        if value.name == inputs[0].name:
            for dim, length in zip(value.type.tensor_type.shape.dim, (1, 3, *size), strict=True):
                dim.dim_value = length
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(fixed, data_prop=True)
    except (shape_inference.InferenceError, ValueError):
        return None
    found = tuple(_tensor(value) for value in inferred.graph.output)
    return found if all(output.shape for output in found) else None


def input_size(shape: Shape, metadata: dict[str, object]) -> tuple[int, int]:
    """(height, width) of an NCHW input: the file's own, else the exporter's `imgsz`, else 640."""
    default = metadata.get("imgsz", (640, 640))
    height, width = (default, default) if isinstance(default, int) else _pair(default)
    return shape[2] or height, shape[3] or width


def _pair(value: object) -> tuple[int, int]:
    match value:
        case [int(height), int(width)] | (int(height), int(width)):
            return height, width
        case _:
            raise ModelError(f"the model's metadata has imgsz {value!r}, not [height, width]")


def _read_openvino(path: Path) -> Graph:
    """Read OpenVINO IR: its inputs and outputs are layers of type Parameter and Result."""
    try:
        root = ET.parse(path).getroot()  # noqa: S314  # nosec B314
        inputs = tuple(
            TensorInfo(layer.get("name", ""), _ir_shape(layer.find("output/port")))
            for layer in root.iter("layer")
            if layer.get("type") == "Parameter"
        )
        outputs = tuple(
            TensorInfo(layer.get("name", "").split("/")[0], _ir_shape(layer.find("input/port")))
            for layer in root.iter("layer")
            if layer.get("type") == "Result"
        )
    except (ET.ParseError, ValueError) as error:
        raise ModelError(f"{path} is not a readable OpenVINO file: {error}") from error
    if not outputs:
        raise ModelError(f"{path} is not a readable OpenVINO file: it has no outputs")
    if not path.with_suffix(".bin").is_file():
        raise ModelError(f"{path} needs its weights beside it: {path.with_suffix('.bin').name}")
    return Graph(inputs, outputs, _yaml_metadata(path.with_name("metadata.yaml")))


def _ir_shape(port: ET.Element | None) -> Shape:
    dims = [] if port is None else [int(dim.text or -1) for dim in port.findall("dim")]
    return tuple(dim if dim > 0 else None for dim in dims)


def _yaml_metadata(path: Path) -> dict[str, object]:
    """Metadata that Ultralytics writes beside formats that cannot hold it."""
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ModelError(f"{path} is not readable YAML: {error}") from error
    return content if isinstance(content, dict) else {}


def _literal(text: str) -> object:
    """Parse a metadata value: Ultralytics writes lists and dicts as Python literals, text bare."""
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value
