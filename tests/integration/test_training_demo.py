"""The training code, where PyTorch is at hand: it learns, and what it writes is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sightline import Detector

torch = pytest.importorskip("torch", reason="PyTorch is not here: it comes with make demo-model")

if TYPE_CHECKING:
    from pathlib import Path


def test_a_toy_is_given_to_cells_inside_it_and_an_empty_picture_to_none() -> None:
    from sightline.training.demo.loss import assign

    cells = torch.tensor(
        [[x + 4.0, y + 4.0, 8.0] for y in range(0, 64, 8) for x in range(0, 64, 8)]
    )
    middle = cells[:, :2]
    boxes = torch.cat([middle - 8, middle + 8], -1)[None].expand(2, -1, -1)
    scores = torch.full((2, len(cells), 3), 0.1)
    toys = torch.tensor([[[8.0, 8, 24, 24], [40, 40, 60, 60]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    target = assign(scores, boxes, cells, toys, torch.tensor([[2, 0], [-1, -1]]))
    busy = target.scores[0].amax(-1) > 0
    inside = ((middle > 8) & (middle < 24)).all(-1) | ((middle > 40) & (middle < 60)).all(-1)
    assert busy.any()
    assert not (busy & ~inside).any()
    assert (target.scores[0, :, 1] == 0).all()
    assert (target.scores[1] == 0).all()
    assert target.scores.max() <= 1


def test_overlap_is_what_it_is_elsewhere() -> None:
    from sightline.training.demo.loss import generous_iou, iou
    from sightline.vision.boxes import iou as reference

    corners = np.random.default_rng(0).uniform(0, 50, (20, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    found = iou(torch.from_numpy(boxes[:1]), torch.from_numpy(boxes)).numpy()
    np.testing.assert_allclose(found, reference(boxes[0], boxes), atol=1e-5)
    same = torch.tensor([[0.0, 0, 10, 10]])
    assert float(generous_iou(same, same)) == pytest.approx(1)
    assert float(generous_iou(same, same + 90)) < -0.9


def test_a_few_steps_learn_and_the_file_is_served(tmp_path: Path) -> None:
    from sightline.training.demo.data import FIRST_SEED, make_example
    from sightline.training.demo.export import export
    from sightline.training.demo.train import train

    example = make_example(FIRST_SEED)
    path = tmp_path / "demo.onnx"
    export(train([example] * 16, epochs=2), path)
    with Detector(path) as detector:
        assert detector.spec.family == "yolov8"
        for shape in ((240, 320, 3), (720, 1280, 3), (320, 100, 3)):
            detector.detect(np.zeros(shape, np.uint8), confidence=0.001)
