"""Output formats of `sightline detect`."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit

from sightline.errors import ConfigError, SightlineError
from sightline.vision.draw import draw_detections, encode_jpeg

if TYPE_CHECKING:
    from sightline.serving.job import InferenceResult
    from sightline.types import Detections


class OutputFormat(StrEnum):
    """The value of `--format`."""

    JSONL = "jsonl"
    COCO = "coco"
    YOLO = "yolo"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """The outcome of one picture: a result or an error, never both."""

    name: str
    result: InferenceResult | None
    error: SightlineError | None


class Writer:
    """Writes outcomes as they come; subclasses define the format.

    With a folder to save to, annotated pictures are written there. Two pictures of one name (from
    two folders, or a.png and a.jpg) get two files, and no original is ever overwritten.
    """

    def __init__(self, stream: TextIO, save: Path | None, labels: tuple[str, ...]) -> None:
        """Write to `stream`, and annotated pictures to the folder `save` (created if needed).

        Raises:
            ConfigError: the folder cannot be created.
        """
        self.stream = stream
        self.labels = labels
        self._save = save
        self._taken: set[str] = set()
        if save is not None:
            try:
                save.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"cannot save to {save}: {error.strerror}") from error

    def write(self, outcome: FileOutcome) -> FileOutcome:
        """Write one outcome; returns it, or a failure instead if it could not be saved."""
        if outcome.result is not None and self._save is not None:
            try:
                self.save(self._save / self._free_name(outcome.name), outcome.result)
            except OSError as error:
                reason = SightlineError(f"cannot save it to {self._save}: {error.strerror}")
                outcome = FileOutcome(outcome.name, None, reason)
        if outcome.result is None:
            self.write_error(outcome)
        else:
            self.write_detections(outcome.name, outcome.result.detections)
        return outcome

    def save(self, file: Path, result: InferenceResult) -> None:
        if result.image is not None:
            drawn = draw_detections(result.image, result.detections)
            file.with_name(f"{file.name}.jpg").write_bytes(encode_jpeg(drawn))

    def write_detections(self, name: str, detections: Detections) -> None:
        """Write one picture's detections."""

    def write_error(self, outcome: FileOutcome) -> None:
        """Write a failed picture; it is already reported on stderr."""

    def finish(self) -> None:
        """Write the end of the output."""

    def _free_name(self, name: str) -> str:
        """An unused file name for the picture `name`, without suffix."""
        stem = PurePosixPath(urlsplit(name).path).stem if "://" in name else Path(name).stem
        free, number = stem or "picture", 1
        while free in self._taken:
            number += 1
            free = f"{stem}-{number}"
        self._taken.add(free)
        return free


class JsonLines(Writer):
    """One JSON object per picture."""

    def write_detections(self, name: str, detections: Detections) -> None:
        self._line(
            file=name,
            image={"width": detections.width, "height": detections.height},
            count=len(detections),
            detections=detections.to_dicts(),
        )

    def write_error(self, outcome: FileOutcome) -> None:
        self._line(file=outcome.name, error=str(outcome.error))

    def _line(self, **values: object) -> None:
        self.stream.write(json.dumps(values, ensure_ascii=False) + "\n")
        self.stream.flush()


class Csv(Writer):
    """One line per detection, with a header."""

    def __init__(self, stream: TextIO, save: Path | None, labels: tuple[str, ...]) -> None:
        super().__init__(stream, save, labels)
        self._csv = csv.writer(stream, lineterminator="\n")
        self._csv.writerow(["file", "label", "class_id", "confidence", "x1", "y1", "x2", "y2"])

    def write_detections(self, name: str, detections: Detections) -> None:
        for found in detections.to_dicts():
            box = found["bbox"].values()
            self._csv.writerow([name, found["label"], found["class_id"], found["confidence"], *box])


class Coco(Writer):
    """One COCO document (https://cocodataset.org/#format-results and #format-data)."""

    def __init__(self, stream: TextIO, save: Path | None, labels: tuple[str, ...]) -> None:
        super().__init__(stream, save, labels)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def write_detections(self, name: str, detections: Detections) -> None:
        image_id = len(self._images) + 1
        self._images.append(
            {
                "id": image_id,
                "file_name": name,
                "width": detections.width,
                "height": detections.height,
            }
        )
        for found in detections:
            x1, y1, x2, y2 = found.bbox
            box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image_id,
                    "category_id": found.class_id,
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "score": round(found.confidence, 4),
                    "iscrowd": 0,
                }
            )

    def finish(self) -> None:
        categories = [{"id": i, "name": label} for i, label in enumerate(self.labels)]
        document = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": categories,
        }
        self.stream.write(json.dumps(document, ensure_ascii=False) + "\n")


class Yolo(Writer):
    """One txt per picture: class, centre and size as fractions of the picture, confidence."""

    def save(self, file: Path, result: InferenceResult) -> None:
        super().save(file, result)
        found = result.detections
        lines = []
        for one in found:
            x1, y1, x2, y2 = one.bbox
            centre = (x1 + x2) / 2 / found.width, (y1 + y2) / 2 / found.height
            size = (x2 - x1) / found.width, (y2 - y1) / found.height
            numbers = " ".join(f"{value:.6f}" for value in (*centre, *size, one.confidence))
            lines.append(f"{one.class_id} {numbers}\n")
        file.with_name(f"{file.name}.txt").write_text("".join(lines), "utf-8")


FORMATS: dict[OutputFormat, type[Writer]] = {
    OutputFormat.JSONL: JsonLines,
    OutputFormat.CSV: Csv,
    OutputFormat.COCO: Coco,
    OutputFormat.YOLO: Yolo,
}
