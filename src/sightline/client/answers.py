"""Typed results of the client, and their parsers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from sightline.client.errors import Cancelled, Problem, UnexpectedAnswer, problem_of
from sightline.types import Detections, Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

T = TypeVar("T")

Status = Literal["queued", "processing", "completed", "error", "cancelled"]
ENDED = frozenset({"completed", "error", "cancelled"})

_MOST_CLASSES = 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """The detections in one picture.

    Attributes:
        detections: the boxes, highest confidence first, and the picture's width and height. Its
            `labels` names only the classes that were found; the others are empty.
        model: name of the model.
        digest: of the model's weights.
        timing: of each step, in milliseconds.
    """

    detections: Detections
    model: str
    digest: str
    timing: Timing


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one picture of a submission.

    Attributes:
        index: among the submitted pictures, from 0.
        filename: its name at the service.
        source: its path or address; the filename if it has none.
        status: `completed`, `error` or `cancelled`.
        answer: its detections; None unless completed.
        error: why it failed; None unless it did.
    """

    index: int
    filename: str
    source: str
    status: Status
    answer: Answer | None
    error: Problem | None

    @property
    def detections(self) -> Detections:
        """The boxes.

        Raises:
            Problem: the picture failed; it is `error`.
            Cancelled: it was cancelled before it was processed.
        """
        if self.error is not None:
            raise self.error
        if self.answer is None:
            raise Cancelled(f"{self.source} was cancelled before its turn.")
        return self.answer.detections


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a submission, in pictures.

    Attributes:
        status: of the whole; once it has ended, `completed` if any of its pictures is.
        done: pictures that have ended, failed ones included.
        total: all pictures.
        failed: pictures that ended in an error.
        position: other pictures in the queue before its next one; None if none of it is queued.
        estimated_wait_s: seconds until its next picture starts, by the queue's recent speed; None
            if unknown.
    """

    status: Status
    done: int
    total: int
    failed: int
    position: int | None = None
    estimated_wait_s: float | None = None


def read(answer: httpx.Response, parse: Callable[[Any], T]) -> T:
    """Parse the JSON of a response with `parse`.

    Raises:
        UnexpectedAnswer: it is not JSON, or not what `parse` expects.
    """
    try:
        return parse(answer.json())
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UnexpectedAnswer(
            f"{shown(answer.url)} answered {answer.status_code}, and not as "
            f"Sightline does ({type(error).__name__}: {error}). Is it this service?"
        ) from error


def shown(url: httpx.URL) -> str:
    """`url` without its user, password and query, which may be secret."""
    return str(url.copy_with(userinfo=b"", query=None))


def problem_in(answer: httpx.Response) -> Problem | UnexpectedAnswer:
    """The problem that a failed response describes."""
    after = answer.headers.get("retry-after")
    more = {"retry_after": after} if after and after.isdecimal() else {}
    try:
        return read(answer, lambda body: problem_of(more | body))
    except UnexpectedAnswer as error:
        return error


def answer_of(body: Mapping[str, Any]) -> Answer:
    """Parse an answer of `POST /detect`, or a completed picture of a task."""
    timing = Timing(**{name: float(value) for name, value in body["timing"].items()})
    return Answer(_detections(body), body["model"], body["digest"], timing)


def result_of(body: Mapping[str, Any], offset: int, source: str | None) -> Result:
    """Parse an entry of a task's `results`; `offset` is added to its index."""
    done, failed = body["status"] == "completed", body.get("error")
    return Result(
        index=offset + body["index"],
        filename=body["filename"],
        source=source or body["filename"],
        status=body["status"],
        answer=answer_of(body) if done else None,
        error=problem_of(failed) if failed else None,
    )


def _detections(body: Mapping[str, Any]) -> Detections:
    found = body["detections"]
    ids = [one["class_id"] for one in found]
    if max(ids, default=0) >= _MOST_CLASSES:
        raise ValueError(f"a class_id of {max(ids)}")
    labels = [""] * (max(ids, default=-1) + 1)
    for one in found:
        labels[one["class_id"]] = one["label"]
    boxes = [[one["bbox"][corner] for corner in ("x1", "y1", "x2", "y2")] for one in found]
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        confidence=np.array([one["confidence"] for one in found], np.float32),
        class_id=np.array(ids, np.int64),
        labels=tuple(labels),
        width=body["image"]["width"],
        height=body["image"]["height"],
    )
