"""INT8 by NNCF's post-training quantisation: a model for OpenVINO, smaller and mostly faster.

What NNCF is given is the bare network, and pictures as the engine's own preprocessing makes them;
what it gives back is an OpenVINO file that is loaded, prepared and read like any other model.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import openvino as ov

from sightline.engines.openvino import core, with_preprocessing
from sightline.errors import ConfigError, ModelError
from sightline.models.spec import read_spec
from sightline.training.heads import sensitive_layers
from sightline.vision.decode import decode
from sightline.vision.letterbox import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from sightline.types import ModelSpec

Progress: TypeAlias = "Callable[[int, int], None]"
"""Told how many steps are done, and how many there are in all."""

ENOUGH = 300
"""Calibration pictures after which more change nothing (NNCF's own advice)."""

_WRITTEN = (".xml", ".bin", ".toml")


def prepare(source: Path, output: Path, force: bool) -> ModelSpec:
    """Whether the quantised model of `source` can be written to `output`: before any work.

    Args:
        source: `.onnx` or OpenVINO `.xml`.
        output: `.xml`; its .bin and .toml lie beside.
        force: replace what is there.

    Returns:
        What `source` is, and the result will be but for its name.

    Raises:
        ConfigError: NNCF is not installed; `output` is no .xml, would hide another model's
            files, is there already, or its folder is not there.
        ModelError: `source` cannot be read, or is no detector.
    """
    _require_place(source, output)
    there = [path for path in map(output.with_suffix, _WRITTEN) if path.exists()]
    if there and not force:
        raise ConfigError(f"{there[0]} is there already: --force replaces it")
    _nncf()
    return read_spec(source)


def _require_place(source: Path, output: Path) -> None:
    if output.suffix != ".xml":
        raise ConfigError(f"{output} must end in .xml: the result is an OpenVINO model")
    if output.resolve().with_suffix("") == source.resolve().with_suffix(""):
        raise ConfigError(f"{output} would stand in the place of {source}: name another file")
    if output.stem == "model":
        raise ConfigError(
            f"{output} would bring a model.toml, which speaks for every model in its folder: "
            "name it otherwise, for example best-int8.xml"
        )
    if not output.parent.is_dir():
        raise ConfigError(f"the folder {output.parent} does not exist: make it first")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"the folder {output.parent} cannot be written to: name another")


def _nncf() -> Any:
    try:
        import nncf
    except ImportError as error:
        raise ConfigError(
            f"quantising needs NNCF ({error}): pip install 'sightline[quantize]'"
        ) from error
    nncf.set_log_level(logging.ERROR)
    return nncf


def quantize(
    source: Path,
    output: Path,
    pictures: Sequence[Path],
    *,
    max_pixels: int,
    progress: Progress = lambda _done, _all: None,
) -> None:
    """Quantise the model at `source`, and write `output`, its .bin, and a .toml that describes it.

    Args:
        source: `.onnx` or OpenVINO `.xml`, not quantised yet.
        output: `.xml`; see `prepare`. Whatever is there is replaced.
        pictures: to calibrate with, all readable, at least one, like those that it will see.
        max_pixels: most pixels of a picture.
        progress: told of each calibration picture that was looked at.

    Raises:
        ConfigError: NNCF is not installed, or `output` cannot be written.
        ModelError: the model cannot be read, or not be quantised.
    """
    nncf = _nncf()
    spec = read_spec(source)
    with _written_at_once(output) as draft:
        network = core().read_model(source)
        if any(node.get_type_name() == "FakeQuantize" for node in network.get_ops()):
            raise ModelError(f"{source} is quantised already")
        calibration = _Calibration(spec, max_pixels, len(pictures), progress)
        _save(_calibrate(nncf, network, pictures, calibration), draft)
        draft.with_suffix(".toml").write_text(_toml(spec), "utf-8")
        if replace(read_spec(draft), name=spec.name) != spec:
            raise ModelError(f"{source} would not be read as the same model once quantised")


def _calibrate(
    nncf: Any, network: ov.Model, pictures: Sequence[Path], calibration: _Calibration
) -> ov.Model:
    try:
        with redirect_stdout(StringIO()):  # NNCF draws bars there
            return nncf.quantize(
                network,
                nncf.Dataset(list(pictures), calibration.tensor),
                # Measured, as is what is left out: docs/decisions/0015.
                preset=nncf.QuantizationPreset.MIXED,
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(pictures),
                ignored_scope=nncf.IgnoredScope(names=sensitive_layers(network), validate=False),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    overflow_fix=nncf.OverflowFix.FIRST_LAYER
                ),
            )
    except (RuntimeError, ValueError, nncf.InternalError, nncf.UnsupportedModelError) as error:
        raise ModelError(f"NNCF cannot quantise this model: {error}") from error


class _Calibration:
    """What the network sees of each picture."""

    def __init__(self, spec: ModelSpec, max_pixels: int, count: int, progress: Progress) -> None:
        self._spec = spec
        self._max_pixels = max_pixels
        self._count = count
        self._progress = progress
        self._seen = 0
        # The engine's preprocessing in front of no network at all: its floats, to the bit.
        pixels = ov.opset1.parameter([spec.batch or -1, 3, -1, -1], ov.Type.f32)
        nothing = ov.Model([pixels], [pixels])
        self._prepare = core().compile_model(
            with_preprocessing(nothing, spec), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )

    def tensor(self, picture: Path) -> NDArray[np.float32]:
        """float32 [N, 3, height, width] as the network gets it; N is 1, or what the file fixes."""
        image = decode(picture.read_bytes(), self._max_pixels)
        batch = np.repeat(fit(image, self._spec)[0][None], self._spec.batch or 1, axis=0)
        self._seen += 1
        self._progress(self._seen, self._count)
        return np.array(self._prepare([batch])[0])


def _save(network: ov.Model, path: Path) -> None:
    try:
        ov.save_model(network, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise ConfigError(f"{path.name} cannot be written: {error}") from error


@contextmanager
def _written_at_once(output: Path) -> Iterator[Path]:
    """A draft's path; all its files take their places at the end, or none does.

    The .xml, without which the others are nothing, goes first and comes last: a process that is
    killed in between leaves no model, never a mixed one.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        folder = Path(mkdtemp(prefix=f".{output.stem}-", dir=output.parent))
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}") from error
    try:
        yield folder / output.name
        output.unlink(missing_ok=True)
        for suffix in reversed(_WRITTEN):
            file = output.with_suffix(suffix)
            (folder / file.name).replace(file)
    finally:
        shutil.rmtree(folder)


def _toml(spec: ModelSpec) -> str:
    """`spec` as a NAME.toml: an OpenVINO file has no place of its own for it."""
    said = {
        "family": spec.family,
        "labels": spec.labels,
        "input_size": spec.input_size,
        "stride": spec.stride,
        "resize": spec.resize,
        "anchor": spec.anchor,
        "pad": spec.pad,
        "colour": spec.colour,
        "mean": spec.mean,
        "std": spec.std,
    }
    # JSON's strings, numbers and lists of them are TOML's too.
    return "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in said.items()
    )
