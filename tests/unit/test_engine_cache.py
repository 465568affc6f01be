from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sightline import Detector, InferenceError, ModelSpec
from sightline.engines import openvino
from sightline.engines.base import Device, Engine
from sightline.engines.cache import EngineCache
from sightline.engines.choose import open_engine
from sightline.engines.fake import FakeEngine
from sightline.models.digest import digest
from sightline.serving.tuning import best_batch
from support import graphs

SPEC = ModelSpec("m", "end2end", ("a", "b"), input_size=(64, 96), dynamic=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return graphs.seeing_network(tmp_path / "m.onnx")


def opened(network: Path, cache: EngineCache) -> Engine:
    return open_engine(network, SPEC, engine="openvino", device="cpu", cache=cache)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Any:
        raise AssertionError("compiled although it was kept")

    monkeypatch.setattr(openvino, "with_preprocessing", refuse)


def test_the_second_start_takes_what_the_first_compiled(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = EngineCache(tmp_path / "cache", "m")
    first = opened(network, cache)
    forbid_compiling(monkeypatch)
    second = opened(network, EngineCache(tmp_path / "cache", "m"))
    assert (second.infer(IMAGES)[0] == first.infer(IMAGES)[0]).all()
    assert (second.streams, second.precision) == (first.streams, first.precision)


def test_another_model_and_other_preparation_are_compiled(network: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    opened(network, EngineCache(folder, "m"))
    opened(network, EngineCache(folder, "another"))
    turned = ModelSpec("m", "end2end", ("a", "b"), input_size=(64, 96), dynamic=True, colour="bgr")
    cache = EngineCache(folder, "m")
    open_engine(network, turned, engine="openvino", device="cpu", cache=cache)
    assert len(files(folder)) == 3


@pytest.mark.parametrize("damage", ["cut", "one bit", "empty", "junk"])
def test_what_is_damaged_is_compiled_again(
    network: Path,
    tmp_path: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = EngineCache(tmp_path / "cache", "m")
    expected = opened(network, cache).infer(IMAGES)[0]
    (file,) = files(cache.folder)
    whole = file.read_bytes()
    turned = bytearray(whole)
    turned[len(turned) // 2] ^= 1
    damaged = {"cut": whole[:-1], "one bit": bytes(turned), "empty": b"", "junk": b"x" * 9999}
    file.write_bytes(damaged[damage])
    assert (opened(network, cache).infer(IMAGES)[0] == expected).all()
    assert "is damaged: the model is compiled again" in caplog.text
    forbid_compiling(monkeypatch)
    assert (opened(network, cache).infer(IMAGES)[0] == expected).all(), "it was kept anew"


def test_a_folder_that_cannot_be_made_costs_the_cache_alone(
    network: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert opened(network, EngineCache(tmp_path / "file" / "cache", "m")).infer(IMAGES)
    assert "cannot be written" in caplog.text


def test_the_oldest_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = EngineCache(tmp_path, "m")
    (tmp_path / "other.txt").write_text("not ours")
    (tmp_path / "killed.tmp").write_text("half of one")
    for number in range(30):
        cache.store(str(number), b"data")
        assert cache.load("0") == b"data", "what is used is not the oldest"
    assert len(files(tmp_path)) == 21
    assert (tmp_path / "other.txt").exists()
    assert not (tmp_path / "killed.tmp").exists()
    assert cache.load("5") is None
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_weights_in_a_file_of_their_own_count_in_the_digest(tmp_path: Path) -> None:
    weights = {"out": np.arange(600, dtype=np.float32).reshape(100, 6)}
    path = graphs.constant_network(tmp_path / "m.onnx", weights)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=100)
    before = digest(path)
    data = bytearray((tmp_path / "m.data").read_bytes())
    data[-1] ^= 1
    (tmp_path / "m.data").write_bytes(data)
    assert digest(path) != before


class Paced(FakeEngine):
    """Each call takes `fixed` and, for each image, `each` of a clock that it moves itself."""

    max_batch = 8

    def __init__(self, clock: list[float], fixed: float, each: float, most: int = 8) -> None:
        super().__init__(Path(), SPEC, Device("cpu"), None)
        self._clock, self._fixed, self._each, self._most = clock, fixed, each, most

    def infer(self, images: Any, *, alone: bool = True) -> Any:
        if len(images) > self._most:
            raise InferenceError("too many")
        self._clock[0] += self._fixed + self._each * len(images)
        return super().infer(images, alone=alone)


@pytest.mark.parametrize(
    ("fixed", "each", "most", "expected"),
    [
        (0.0, 1.0, 8, 1),  # a CPU: nothing is gained
        (1.0, 0.01, 8, 8),  # a GPU: nearly all is
        (1.0, 1.0, 8, 8),  # 2, 1.5, 1.25, 1.125 an image
        (1.0, 5.0, 8, 1),  # 6, 5.5: hardly a tenth
        (1.0, 2.0, 8, 4),  # 3, 2.5, 2.25, 2.125
        (1.0, 0.01, 1, 1),  # it says that it takes batches, and fails with them
    ],
)
def test_batches_are_as_large_as_pays(
    monkeypatch: pytest.MonkeyPatch, fixed: float, each: float, most: int, expected: int
) -> None:
    clock = [0.0]
    monkeypatch.setattr("sightline.serving.tuning.perf_counter", lambda: clock[0])
    assert best_batch(Paced(clock, fixed, each, most), SPEC, None) == expected


def test_what_was_measured_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock, cache = [0.0], EngineCache(tmp_path, "m")
    monkeypatch.setattr("sightline.serving.tuning.perf_counter", lambda: clock[0])
    assert best_batch(Paced(clock, 1, 0.01), SPEC, cache) == 8
    spent = clock[0]
    assert best_batch(Paced(clock, 0, 1), SPEC, cache) == 8
    assert clock[0] == spent, "nothing was measured again"


def test_a_service_keeps_what_it_compiled(network: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with Detector(network, cache_dir=tmp_path / "cache") as detector:
            detector.detect(IMAGES[0])
    assert len(files(tmp_path / "cache")) == 2  # the network, and the best batch
