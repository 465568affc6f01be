"""A labelled data set of scenes: YOLO layout for trainers, COCO JSON for evaluators.

DIR/data.yaml
DIR/images/train/000000.jpg   DIR/labels/train/000000.txt   DIR/annotations/train.json
DIR/images/val/…              DIR/labels/val/…              DIR/annotations/val.json
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sightline.demo.files import write_json, write_picture, writing
from sightline.demo.scenes import make_scene, require_size
from sightline.demo.toys import CLASSES
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sightline.demo.truth import Scene, Truth

Split: TypeAlias = Literal["train", "val"]

_HELD_OUT = 5  # one picture in five is for validation


def write_dataset(folder: Path, count: int, seed: int, width: int, height: int) -> Iterator[int]:
    """Write `count` scenes of the seeds from `seed` on; a fifth, at least one, is for validation.

    Yields:
        After each picture, how many are written. The data set is complete when the iterator ends.

    Raises:
        ConfigError: an argument is out of range, `folder` is not empty, or it cannot be written.
    """
    if count < 2:
        raise ConfigError(f"count is {count}: a data set has 2 pictures or more, one to validate")
    require_size(seed, width, height)
    _prepare(folder)
    kept = count - max(1, count // _HELD_OUT)
    coco: dict[Split, dict[str, Any]] = {"train": empty_coco(), "val": empty_coco()}
    for index in range(count):
        split: Split = "train" if index < kept else "val"
        scene = make_scene(seed + index, width, height)
        name = f"{index:06}"
        write_picture(folder / "images" / split / f"{name}.jpg", scene.image)
        with writing(folder):
            labels = folder / "labels" / split / f"{name}.txt"
            labels.write_text(yolo_lines(scene.truth, width, height), "utf-8")
        add_to_coco(coco[split], scene, index + 1, f"{name}.jpg")
        yield index + 1
    for split, content in coco.items():
        write_json(folder / "annotations" / f"{split}.json", content)


def yolo_lines(truth: Truth, width: int, height: int) -> str:
    """One line per toy: class id, then cx, cy, width, height as shares of the picture, 0..1."""
    lines = []
    for class_id, (x1, y1, x2, y2) in zip(truth.class_id, truth.boxes.tolist(), strict=True):
        box = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(f"{class_id} " + " ".join(f"{value:.6f}" for value in box))
    return "".join(f"{line}\n" for line in lines)


def empty_coco() -> dict[str, Any]:
    """COCO JSON without pictures. Its category ids are class ids plus one, as COCO starts at 1."""
    return {
        "info": {"description": "Sightline demo scenes"},
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)],
    }


def add_to_coco(coco: dict[str, Any], scene: Scene, image_id: int, file_name: str) -> None:
    """Add a picture and its toys; boxes are x, y, width, height in pixels."""
    height, width = scene.image.shape[:2]
    coco["images"].append(
        {"id": image_id, "file_name": file_name, "width": width, "height": height}
    )
    for class_id, box in zip(
        scene.truth.class_id.tolist(), scene.truth.boxes.tolist(), strict=True
    ):
        x1, y1, x2, y2 = box
        coco["annotations"].append(
            {
                "id": len(coco["annotations"]) + 1,
                "image_id": image_id,
                "category_id": class_id + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
        )


def _prepare(folder: Path) -> None:
    """Create the folders and `data.yaml`."""
    with writing(folder):
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty: name a new folder for the data set")
        for kind in ("images", "labels"):
            for split in ("train", "val"):
                (folder / kind / split).mkdir(parents=True)
        (folder / "annotations").mkdir()
        names = "".join(f"  {i}: {name}\n" for i, name in enumerate(CLASSES))
        text = f"train: images/train\nval: images/val\nnames:\n{names}"
        (folder / "data.yaml").write_text(text, "utf-8")
