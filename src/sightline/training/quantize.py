"""INT8 quantisation for OpenVINO, by NNCF's post-training quantisation.

NNCF gets the network without preprocessing, and inputs made by the engine's own preprocessing. The
result is an OpenVINO file that is loaded like any other model.
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
"""Called with the number of steps done, and the total."""

ENOUGH = 300
"""Number of calibration pictures beyond which more change nothing (by NNCF's documentation)."""

_WRITTEN = (".xml", ".bin", ".toml")


def prepare(source: Path, output: Path, force: bool) -> ModelSpec:
    """Check, before any work, that `source` can be quantised to `output`.

    Args:
        source: `.onnx` or OpenVINO `.xml`.
        output: `.xml`; its .bin and .toml are written beside it.
        force: replace existing files.

    Returns:
        The spec of `source`; that of the result differs only in its name.

    Raises:
        ConfigError: NNCF is not installed; `output` is not an .xml, would hide another model's
            files, or exists; or its folder does not exist.
        ModelError: `source` cannot be read, or is not a detector.
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
        source: `.onnx` or OpenVINO `.xml`, not yet quantised.
        output: `.xml`; see `prepare`. Existing files are replaced.
        pictures: for calibration: all readable, at least one, similar to those in production.
        max_pixels: most pixels of a picture.
        progress: called after each calibration picture.

    Raises:
        ConfigError: NNCF is not installed, or `output` cannot be written.
        ModelError: the model cannot be read or quantised.
    """
    nncf = _nncf()
    spec = read_spec(source)
    with _atomic_output(output) as draft:
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
        with redirect_stdout(StringIO()):  # NNCF prints progress bars
            return nncf.quantize(
                network,
                nncf.Dataset(list(pictures), calibration.tensor),
                # These choices were measured: docs/decisions/0015.
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
    """Prepares calibration pictures as inputs of the bare network."""

    def __init__(self, spec: ModelSpec, max_pixels: int, count: int, progress: Progress) -> None:
        self._spec = spec
        self._max_pixels = max_pixels
        self._count = count
        self._progress = progress
        self._done = 0
        # The engine's preprocessing in front of an identity network: exactly its floats.
        pixels = ov.opset1.parameter([spec.batch or -1, 3, -1, -1], ov.Type.f32)
        identity = ov.Model([pixels], [pixels])
        self._prepare = core().compile_model(
            with_preprocessing(identity, spec), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )

    def tensor(self, picture: Path) -> NDArray[np.float32]:
        """The network's input, float32 [N, 3, height, width]; N is 1, or the file's batch size."""
        image = decode(picture.read_bytes(), self._max_pixels)
        batch = np.repeat(fit(image, self._spec)[0][None], self._spec.batch or 1, axis=0)
        self._done += 1
        self._progress(self._done, self._count)
        return np.array(self._prepare([batch])[0])


def _save(network: ov.Model, path: Path) -> None:
    try:
        ov.save_model(network, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise ConfigError(f"{path.name} cannot be written: {error}") from error


@contextmanager
def _atomic_output(output: Path) -> Iterator[Path]:
    """Yields a temporary path for the files; at the end all of them are moved into place.

    The .xml is removed first and moved last: a process that is killed in between leaves no model,
    never a mixed one.

    Raises:
        ConfigError: the files cannot be written.
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
    """`spec` as the content of a NAME.toml, since an OpenVINO file cannot hold it."""
    fields = {
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
    # JSON's strings, numbers and lists of them are valid TOML.
    return "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items()
    )
