"""Export of the trained network to an ONNX file with metadata."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import onnx
import torch

from sightline import __version__
from sightline.demo.toys import CLASSES
from sightline.training.demo.data import SPEC
from sightline.training.demo.network import STRIDES, Exported

if TYPE_CHECKING:
    from pathlib import Path

    from sightline.training.demo.network import DemoNet

_OPSET = 17


def export(network: DemoNet, path: Path) -> None:
    """Write `network` to `path`: float32, any batch, any height and width by 32."""
    model = Exported(network.float().eval())
    packed = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter needs two more packages, and this network does not benefit from it.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, 256, 320),),
            packed,
            opset_version=_OPSET,
            input_names=["images"],
            output_names=["output0"],
            dynamic_axes={
                "images": {0: "batch", 2: "height", 3: "width"},
                "output0": {0: "batch", 2: "cells"},
            },
            dynamo=False,
        )
    graph = onnx.load_from_string(packed.getvalue())
    onnx.checker.check_model(graph)
    for key, value in _metadata().items():
        graph.metadata_props.add(key=key, value=value)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, path)


def _metadata() -> dict[str, str]:
    """Metadata in Ultralytics' format, and the file's description and licence."""
    return {
        "description": "Sightline demo model: six kinds of toys on a table",
        "author": "the Sightline authors",
        "license": "Apache-2.0",
        "version": __version__,
        "task": "detect",
        "stride": str(max(STRIDES)),
        "imgsz": str(list(SPEC.input_size)),
        "names": repr(dict(enumerate(CLASSES))),
    }
