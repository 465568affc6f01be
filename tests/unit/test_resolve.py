from __future__ import annotations

import pytest

from sightline.models.resolve import is_pulled


@pytest.mark.parametrize("model", ["yolox-tiny", "a" * 300, "\0", "https://example.org/a.onnx"])
def test_addresses_and_names_are_pulled(model: str) -> None:
    assert is_pulled(model)


@pytest.mark.parametrize("model", ["best.onnx", "models/best", ".", "a" * 300 + ".onnx"])
def test_paths_are_not(model: str) -> None:
    assert not is_pulled(model)
