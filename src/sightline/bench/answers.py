"""Evaluation of response bodies: the problem type, or the annotated picture."""

from __future__ import annotations

import json
from pathlib import Path

from sightline.bench.client import HttpReply
from sightline.bench.plan import BenchImage
from sightline.errors import ConfigError


def problem_type(answer: HttpReply) -> str:
    """The `type` of an RFC 9457 problem, or its title without one; "" if it is not a problem."""
    if "json" not in answer.headers.get("content-type", ""):
        return ""
    try:
        problem = json.loads(answer.body)
    except ValueError:
        return ""
    if not isinstance(problem, dict):
        return ""
    kind = problem.get("type")
    name = problem.get("title") if kind in {None, "about:blank"} else kind
    return str(name or "")[:200]


class Saver:
    """Saves the first annotated answer of each picture."""

    def __init__(self, folder: Path | None, pictures: tuple[BenchImage, ...]) -> None:
        """Save to `folder`, created if needed; if None, save nothing.

        Raises:
            ConfigError: it cannot be created.
        """
        self._files: dict[int, Path] = {}
        self._count = len(pictures)
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot save to {folder}: {error.strerror}") from error
        digits = len(str(len(pictures)))
        for index, picture in enumerate(pictures):
            self._files[index] = folder / f"{index + 1:0{digits}}-{picture.name}.jpg"

    def wants(self, index: int) -> bool:
        """Whether the answer to request `index` is to be saved."""
        return index % self._count in self._files

    def save(self, index: int, answer: HttpReply) -> None:
        """Write the answer to request `index`, if it is to be saved."""
        if not (self.wants(index) and answer.headers.get("content-type") == "image/jpeg"):
            return
        self._files.pop(index % self._count).write_bytes(answer.body)
