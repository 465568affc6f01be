"""Model sources: the address to fetch a model from, and its place in the cache."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from sightline.errors import ModelError
from sightline.models.catalogue import CATALOGUE
from sightline.net.download import display

if TYPE_CHECKING:
    from sightline.models.catalogue import CatalogueEntry

_HUB = "https://huggingface.co"
_SCHEMES = ("https://", "http://", "hf://")


@dataclass(frozen=True, slots=True)
class Source:
    """A model on the network, and its files in the cache.

    Attributes:
        name: as given, without anything secret.
        address: http(s).
        path: its file in the cache.
        partial: its file while it is being fetched.
        toml: content of its `model.toml`; may be empty.
    """

    name: str
    address: str
    path: Path
    partial: Path
    toml: str = ""

    @property
    def shown(self) -> str:
        """The address without user, password and query."""
        return display(self.address)

    @property
    def record(self) -> Path:
        """The path of its `PullRecord`."""
        return self.path.with_suffix(".json")


def is_address(model: str) -> bool:
    """Whether `model` is an address, rather than a name or a path."""
    return model.startswith(_SCHEMES)


def locate(model: str, cache_dir: Path) -> Source:
    """The source of `model`, a name in the catalogue or an address.

    Raises:
        ModelError: there is no such name, the address names no ONNX file, or the model may not be
            fetched; the message says what to do.
    """
    if is_address(model):
        return _from_address(model, cache_dir)
    if model.endswith(".pt"):
        raise _no_pickle(model, model)
    entry = CATALOGUE.get(model)
    if entry is None:
        raise ModelError(f"there is no model '{model}'{_hint(model)}")
    return from_entry(entry, cache_dir)


def from_entry(entry: CatalogueEntry, cache_dir: Path) -> Source:
    """The source of a model of the catalogue.

    Raises:
        ModelError: it may not be fetched.
    """
    address = _web(entry.require_address())
    file = f"{entry.name}.onnx"
    partial = cache_dir / "partial" / f"{file}.part"
    return Source(entry.name, address, cache_dir / file, partial, entry.toml)


def _no_pickle(shown: str, file: str) -> ModelError:
    return ModelError(
        f"{shown} is a PyTorch file, and loading one runs code that it carries. Export it first "
        "(in an environment with Ultralytics): "
        f"yolo export model={file} format=onnx dynamic=True"
    )


def _hint(name: str) -> str:
    near = get_close_matches(name.lower().replace("_", "-"), CATALOGUE, n=3, cutoff=0.5)
    if near:
        return f": did you mean {' or '.join(near)}? `sightline models` lists them all"
    return (
        ". Give a name that `sightline models` lists, the path of an .onnx or OpenVINO .xml file, "
        "or an https:// or hf:// address"
    )


def _from_address(given: str, cache_dir: Path) -> Source:
    address = _web(given)
    shown = display(address)
    path = PurePosixPath(unquote(urlsplit(shown).path))
    # Most files on Hugging Face are called "model.onnx"; the repository's name tells more.
    generic = given.startswith("hf://") and path.name == "model.onnx"
    file = re.sub(r"[^\w.-]", "_", f"{given.split('/')[3]}.onnx" if generic else path.name)
    stem, _, suffix = file.rpartition(".")
    if suffix == "pt":
        raise _no_pickle(shown, file)
    if not stem.strip(".") or suffix != "onnx":
        raise ModelError(f"{shown} names no .onnx file, the one kind that is fetched")
    # Files of the same name from different addresses get different folders.
    folder = hashlib.sha256(shown.encode()).hexdigest()[:12]
    partial = cache_dir / "partial" / f"{folder}-{file}.part"
    return Source(
        given if given.startswith("hf://") else shown, address, cache_dir / folder / file, partial
    )


def _web(address: str) -> str:
    """Expand `hf://owner/repo/file` to https; HF_ENDPOINT names a mirror of Hugging Face.

    Raises:
        ModelError: a `hf://` address lacks an owner, a repository or a file.
    """
    if not address.startswith("hf://"):
        return address
    owner, _, rest = address.removeprefix("hf://").partition("/")
    repository, _, file = rest.partition("/")
    if not (owner and repository and file):
        raise ModelError(f"{address} is incomplete: hf://owner/repository/path/to/file.onnx")
    hub = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")
    return f"{hub}/{quote(owner)}/{quote(repository)}/resolve/main/{quote(file)}"
