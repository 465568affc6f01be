"""Label readers: YOLO txt files beside the pictures or in a parallel folder, or one COCO JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from sightline.errors import ConfigError
from sightline.training.evaluate import ImageTruth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_YAML_DEPTH = 4  # levels above a picture at which its data.yaml may be


class OtherClasses(ConfigError):
    """None of the labels' classes is the model's."""


def yolo_truths(pictures: Sequence[Path], labels: Sequence[str]) -> dict[Path, ImageTruth]:
    """Labels of those `pictures` that have a YOLO label file; an empty file means no objects.

    Format: Ultralytics' detection data sets. `images/…/x.jpg` has `labels/…/x.txt`, or `x.txt`
    beside it; a line is class id, cx, cy, width, height as shares of the upright picture. Class
    ids follow the `names` of a `data.yaml` above the picture where there is one, else `labels`;
    boxes of classes that the model does not have are left out.

    Raises:
        OtherClasses: none of the classes is the model's.
        ConfigError: a label file is malformed.
    """
    truths: dict[Path, ImageTruth] = {}
    for picture in pictures:
        path = _yolo_file(picture)
        if path is not None:
            truths[picture] = _read_yolo(path, _class_ids(picture, labels))
    return truths


def _yolo_file(picture: Path) -> Path | None:
    beside = picture.with_suffix(".txt")
    parts = list(beside.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            parallel = type(picture)(*parts)
            if parallel.is_file():
                return parallel
            break
    return beside if beside.is_file() else None


def _class_ids(picture: Path, labels: Sequence[str]) -> dict[int, int]:
    """The model's class ids by those of the label files."""
    for folder in list(picture.absolute().parents)[:_YAML_DEPTH]:
        path = folder / "data.yaml"
        if path.is_file():
            names = _yaml_names(path)
            return _known(names, labels, f"the labels beside {path}")
    return dict(enumerate(range(len(labels))))


def _yaml_names(path: Path) -> dict[int, str]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        names = content["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(index): str(name) for index, name in pairs}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} does not name its classes: {error!r}") from error


def _known(names: Mapping[int, str], labels: Sequence[str], whose: str) -> dict[int, int]:
    index = {label: class_id for class_id, label in enumerate(labels)}
    known = {theirs: index[name] for theirs, name in names.items() if name in index}
    if not known:
        raise OtherClasses(
            f"{whose} are of classes ({_few(names.values())}) that the model does not know "
            f"(it knows {_few(labels)})"
        )
    return known


def _few(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _read_yolo(path: Path, class_ids: Mapping[int, int]) -> ImageTruth:
    boxes, found = [], []
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            class_id = int(fields[0])
            cx, cy, width, height = (float(field) for field in fields[1:])
        except ValueError as error:
            raise ConfigError(
                f"{path}, line {number}: '{line[:60]}' is not class, cx, cy, width, height"
            ) from error
        if class_id in class_ids:
            boxes.append((cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2))
            found.append(class_ids[class_id])
    return _truth(boxes, found, [False] * len(found))


def _truth(boxes: list[Any], class_ids: list[int], crowd: list[bool]) -> ImageTruth:
    return ImageTruth(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(class_ids, np.int64),
        np.array(crowd, np.bool_),
    )


def coco_truths(
    path: Path, pictures: Sequence[Path], labels: Sequence[str]
) -> dict[Path, ImageTruth]:
    """Labels of those `pictures` that the COCO JSON at `path` names, matched by path suffix.

    Categories are matched to the model's classes by name; boxes of others are left out.

    Raises:
        OtherClasses: none of the categories is the model's.
        ConfigError: `path` is not a COCO JSON, or names none of the pictures.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        names = {int(entry["id"]): str(entry["name"]) for entry in content["categories"]}
        class_ids = _known(names, labels, f"the annotations in {path}")
        by_image: dict[Any, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        by_name: dict[str, list[Path]] = {}
        for picture in pictures:
            by_name.setdefault(picture.name, []).append(picture)
        truths = {
            picture: _from_coco(image, by_image.get(image["id"], []), class_ids)
            for image in content["images"]
            for picture in by_name.get(image["file_name"].rpartition("/")[2], [])
            if f"/{picture.as_posix()}".endswith(f"/{image['file_name']}")
        }
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no readable COCO JSON: {error!r}") from error
    if not truths:
        raise ConfigError(f"{path} names none of the pictures that are measured")
    return truths


def _from_coco(
    image: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    class_ids: Mapping[int, int],
) -> ImageTruth:
    size = np.array((image["width"], image["height"]) * 2, np.float64)
    boxes, found, crowd = [], [], []
    for annotation in annotations:
        if annotation["category_id"] not in class_ids:
            continue
        x, y, width, height = annotation["bbox"]
        boxes.append(np.array((x, y, x + width, y + height)) / size)
        found.append(class_ids[annotation["category_id"]])
        crowd.append(bool(annotation.get("iscrowd", 0)))
    return _truth(boxes, found, crowd)
