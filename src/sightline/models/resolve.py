"""Choice of the model file to serve: the one named, else a COCO model, else the bundled demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.errors import ConfigError, ModelError
from sightline.models.catalogue import CATALOGUE, DEFAULT
from sightline.models.pull import cached, pull, silent
from sightline.models.sources import is_address, locate
from sightline.models.spec import read_spec
from sightline.net.download import DownloadTimeouts

if TYPE_CHECKING:
    from sightline.net.download import Progress

BUNDLED = Path(__file__).parent / "bundled" / "demo.onnx"

# A start that fails does so in under 15 s, whatever the model's server does.
_NAMED = DownloadTimeouts(first_byte=7, idle=7)
_UNNAMED = DownloadTimeouts(first_byte=3, idle=10)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The model to serve.

    Attributes:
        path: its file.
        notice: a warning to show because nobody asked for this model; else empty.
    """

    path: Path
    notice: str = ""


def resolve(model: str | None, cache_dir: Path, progress: Progress = silent) -> Resolved:
    """The file of `model`, fetched if needed.

    Args:
        model: a path, a name in the catalogue, or an https:// or hf:// address; None takes the
            catalogue's default if it is cached or can be fetched, else the bundled demo model.
        cache_dir: where models are kept.
        progress: called with the progress of a download.

    Raises:
        ModelError: the named model is not available; in under 15 s, and the message says what to
            do.
        ConfigError: none is named, and there is no model at all.
    """
    if model is None:
        return _unnamed(cache_dir, progress)
    if is_pulled(model):
        found = cached(locate(model, cache_dir))
        return Resolved(found or pull(model, cache_dir, progress, timeouts=_NAMED))
    return Resolved(Path(model).expanduser())


def is_pulled(model: str) -> bool:
    """Whether `model` is an address or a name, and not a path on this machine."""
    return is_address(model) or not _is_path(model)


def _is_path(model: str) -> bool:
    """Whether `model` is meant as a path: it has a known suffix or a folder, or exists."""
    if model in CATALOGUE:
        return False
    path = Path(model)
    if path.suffix in {".onnx", ".xml", ".pt"} or len(path.parts) != 1:
        return True
    try:
        return path.exists()
    except OSError:  # longer than a file name can be
        return False


def _unnamed(cache_dir: Path, progress: Progress) -> Resolved:
    found = cached(locate(DEFAULT, cache_dir))
    if found is not None:
        return Resolved(found)
    try:
        return Resolved(pull(DEFAULT, cache_dir, progress, timeouts=_UNNAMED))
    except ModelError as error:
        reason = str(error)
    if not BUNDLED.is_file():
        raise ConfigError(
            "no model is named; give one: --model path/to/model.onnx "
            f"(make serve MODEL=path/to/model.onnx). The usual one, {DEFAULT}, was not to be had: "
            f"{reason}"
        )
    labels = ", ".join(read_spec(BUNDLED).labels)
    return Resolved(
        BUNDLED,
        f"No model is named and {DEFAULT} was not to be had, so this is the bundled DEMO MODEL. "
        f"It knows the toys of `sightline demo` ({labels}) and nothing else.\n"
        f"  why       {reason}\n"
        f"  instead   sightline pull {DEFAULT} (80 everyday classes, once there is a connection), "
        "or --model path/to/model.onnx",
    )
