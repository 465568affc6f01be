"""Where a model that is asked for by name or address comes from, and where it is kept."""

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
    """A model to be had from the network.

    Attributes:
        name: what was asked for, as it may be shown.
        address: http(s).
        path: where its file is kept.
        partial: where it lies until it is complete.
        toml: what a `model.toml` has to say of it.
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
        """Where it is noted what was pulled."""
        return self.path.with_suffix(".json")


def is_address(model: str) -> bool:
    """Whether `model` is an address, rather than a name or a path."""
    return model.startswith(_SCHEMES)


def locate(model: str, cache_dir: Path) -> Source:
    """Where `model`, a name in the catalogue or an address, comes from.

    Raises:
        ModelError: there is no such name, the address names no ONNX file, or the model is not to
            be fetched; the message says what to do.
    """
    if is_address(model):
        return _from_address(model, cache_dir)
    if model.endswith(".pt"):
        raise _no_pickle(model, model)
    found = CATALOGUE.get(model)
    if found is None:
        raise ModelError(f"there is no model '{model}'{_hint(model)}")
    return from_entry(found, cache_dir)


def from_entry(found: CatalogueEntry, cache_dir: Path) -> Source:
    """Where a model of the catalogue comes from.

    Raises:
        ModelError: it is not to be fetched.
    """
    address = _web(found.require_address())
    file = f"{found.name}.onnx"
    partial = cache_dir / "partial" / f"{file}.part"
    return Source(found.name, address, cache_dir / file, partial, found.toml)


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
    # On the hub every other file is "model.onnx": its repository tells more.
    generic = given.startswith("hf://") and path.name == "model.onnx"
    file = re.sub(r"[^\w.-]", "_", f"{given.split('/')[3]}.onnx" if generic else path.name)
    stem, _, suffix = file.rpartition(".")
    if suffix == "pt":
        raise _no_pickle(shown, file)
    if not stem.strip(".") or suffix != "onnx":
        raise ModelError(f"{shown} names no .onnx file, the one kind that is fetched")
    # Files of the same name from different places must not meet.
    folder = hashlib.sha256(shown.encode()).hexdigest()[:12]
    partial = cache_dir / "partial" / f"{folder}-{file}.part"
    return Source(
        given if given.startswith("hf://") else shown, address, cache_dir / folder / file, partial
    )


def _web(address: str) -> str:
    """`address` with `hf://owner/repo/file` spelt out; HF_ENDPOINT names a mirror of the hub.

    Raises:
        ModelError: a `hf://` address without an owner, a repository and a file.
    """
    if not address.startswith("hf://"):
        return address
    owner, _, rest = address.removeprefix("hf://").partition("/")
    repository, _, file = rest.partition("/")
    if not (owner and repository and file):
        raise ModelError(f"{address} is incomplete: hf://owner/repository/path/to/file.onnx")
    hub = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")
    return f"{hub}/{quote(owner)}/{quote(repository)}/resolve/main/{quote(file)}"
