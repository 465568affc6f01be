"""The canary's scene, drawn in advance, because drawing it would slow down the start.

python -m sightline.demo.canary     draws it again
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sightline.types import Detections

_SEED = 0
_PICTURE = Path(__file__).with_name("canary.jpg")
_TRUTH = Path(__file__).with_name("canary.json")


def read() -> tuple[bytes, Detections]:
    """The picture as a JPEG file, and its truth as detections with confidence 1."""
    content = json.loads(_TRUTH.read_text("utf-8"))
    truth = Detections(
        boxes=np.array(content["boxes"], np.float32),
        confidence=np.ones(len(content["boxes"]), np.float32),
        class_id=np.array(content["class_id"], np.int64),
        labels=tuple(content["labels"]),
        width=content["width"],
        height=content["height"],
    )
    return _PICTURE.read_bytes(), truth


def draw() -> tuple[bytes, str]:
    """The content of the two files: JPEG and JSON."""
    from sightline.demo.scenes import make_scene
    from sightline.demo.toys import CLASSES
    from sightline.vision.draw import encode_jpeg

    scene = make_scene(_SEED)
    height, width = scene.image.shape[:2]
    content = {
        "width": width,
        "height": height,
        "labels": list(CLASSES),
        "class_id": scene.truth.class_id.tolist(),
        "boxes": np.round(scene.truth.boxes, 2).tolist(),
    }
    return encode_jpeg(scene.image), json.dumps(content) + "\n"


if __name__ == "__main__":
    picture, truth = draw()
    _PICTURE.write_bytes(picture)
    _TRUTH.write_text(truth, "utf-8")
