"""Which weights exactly: a digest of a model's files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from pathlib import Path


def weight_bytes(path: Path) -> int:
    """The size of the model's files."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> list[Path]:
    """The file at `path`, and the weights beside it where the format keeps them apart."""
    match path.suffix:
        case ".xml":
            return [path, path.with_suffix(".bin")]
        case ".onnx":
            model = onnx.load(path, load_external_data=False)
            kept = [found for weight in model.graph.initializer for found in weight.external_data]
            beside = {path.parent / found.value for found in kept if found.key == "location"}
            return [path, *sorted(file for file in beside if file.is_file())]
        case _:
            return [path]


def digest(path: Path) -> str:
    """`sha256:` and the hexadecimal digest of the model's files, in order."""
    checksum = hashlib.sha256()
    for file in _files(path):
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                checksum.update(block)
    return f"sha256:{checksum.hexdigest()}"
