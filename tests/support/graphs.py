"""Tiny ONNX graphs that stand in for real networks: they answer with known numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Dims = tuple[int | str, ...]


def constant_network(
    path: Path,
    outputs: Mapping[str, NDArray[np.float32]],
    *,
    image: Dims = ("batch", 3, 64, 64),
    metadata: Mapping[str, str] | None = None,
    hide_shapes: bool = False,
) -> Path:
    """A network that answers each image with `outputs` (given without the batch dimension).

    It does read its input, so that no engine can fold it away. `hide_shapes` declares the
    outputs with free sizes only.
    """
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0)]
    constants = [numpy_helper.from_array(np.array(0, np.float32), "zero")]
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    infos = []
    for name, value in outputs.items():
        shape = numpy_helper.from_array(np.array([-1] + [1] * value.ndim), f"{name}_shape")
        constants += [shape, numpy_helper.from_array(value[None], f"{name}_value")]
        nodes.append(helper.make_node("Reshape", ["nothing", f"{name}_shape"], [f"{name}_zero"]))
        nodes.append(helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]))
        dims: Sequence[int | str] = (
            [f"{name}_{i}" for i in range(value.ndim)] if hide_shapes else list(value.shape)
        )
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [image[0], *dims]))
    return _save(path, nodes, constants, infos, image, metadata)


def echo_network(path: Path, *, image: Dims = ("batch", 3, "height", "width")) -> Path:
    """A network whose one output is its input as it arrived, after the engine's preparation."""
    nodes = [helper.make_node("Identity", ["images"], ["echo"])]
    info = helper.make_tensor_value_info("echo", TensorProto.FLOAT, list(image))
    return _save(path, nodes, [], [info], image, None)


def seeing_network(path: Path, *, image: Dims = ("batch", 3, "height", "width")) -> Path:
    """A network in `end2end` form that really looks: its box is (0, 0, 8, 8), its score the mean
    of the prepared input. What it answers depends on the picture it is shown.
    """
    constants = [
        numpy_helper.from_array(np.array([0, 0, 8, 8], np.float32), "box"),
        numpy_helper.from_array(np.array([[[0]]], np.float32), "class"),
        numpy_helper.from_array(np.array([-1, 1, 1]), "cell"),
        numpy_helper.from_array(np.array([0], np.float32), "zero"),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "cell"], ["score"]),
        helper.make_node("Mul", ["score", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "box"], ["boxes"]),
        helper.make_node("Add", ["nothing", "class"], ["classes"]),
        helper.make_node("Concat", ["boxes", "score", "classes"], ["out"], axis=2),
    ]
    info = helper.make_tensor_value_info("out", TensorProto.FLOAT, [image[0], 1, 6])
    return _save(path, nodes, constants, [info], image, None)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    outputs: list[onnx.ValueInfoProto],
    image: Dims,
    metadata: Mapping[str, str] | None,
) -> Path:
    source = helper.make_tensor_value_info("images", TensorProto.FLOAT, list(image))
    graph = helper.make_graph(nodes, "tiny", [source], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def names(*labels: str) -> dict[str, str]:
    """Metadata as Ultralytics writes it."""
    return {"names": repr(dict(enumerate(labels))), "task": "detect", "stride": "32"}


def grid_table(columns: int, cells: int = 84) -> NDArray[np.float32]:
    """Zeros [cells, columns]; 84 cells are the grids of strides 8, 16, 32 over 64x64."""
    return np.zeros((cells, columns), np.float32)
