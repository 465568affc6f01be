"""Digest and size of a model's files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from pathlib import Path


def weight_bytes(path: Path) -> int:
    """Total size of the model's files."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> list[Path]:
    """The file at `path`, and the separate weight files of formats that have them."""
    match path.suffix:
        case ".xml":
            return [path, path.with_suffix(".bin")]
        case ".onnx":
            model = onnx.load(path, load_external_data=False)
            entries = [
                entry for weight in model.graph.initializer for entry in weight.external_data
            ]
            weights = {path.parent / entry.value for entry in entries if entry.key == "location"}
            return [path, *sorted(file for file in weights if file.is_file())]
        case _:
            return [path]


def digest(path: Path) -> str:
    """SHA-256 of the model's files, in order: `sha256:` and hexadecimal digits."""
    checksum = hashlib.sha256()
    for file in _files(path):
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                checksum.update(block)
    return f"sha256:{checksum.hexdigest()}"
