"""What the service answers, typed."""

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
    """What was found in one picture.

    Attributes:
        detections: the boxes, highest confidence first, and the picture's width and height. Its
            `labels` names the classes that were found; the answer does not tell the others.
        model: name of the model that looked.
        digest: of that model's weights.
        timing: where the time went, in milliseconds.
    """

    detections: Detections
    model: str
    digest: str
    timing: Timing


@dataclass(frozen=True, slots=True)
class Result:
    """One picture of a task that has ended.

    Attributes:
        index: its place among the pictures that were submitted, from 0.
        filename: what the service calls it.
        source: the path or address that it came from; the filename if it had none.
        status: `completed`, `error` or `cancelled`.
        answer: what was found; None unless it is completed.
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
            Cancelled: it was not looked at.
        """
        if self.error is not None:
            raise self.error
        if self.answer is None:
            raise Cancelled(f"{self.source} was cancelled before its turn.")
        return self.answer.detections


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a submission is, in pictures. `done` counts those that failed too.

    Attributes:
        status: of the whole: `completed` if one of its pictures was.
        done: pictures that have ended.
        total: all of them.
        failed: those that ended in an error.
        position: pictures of others that come before its next; None if nothing of it is queued.
        estimated_wait_s: seconds until its turn, by how fast the queue moved lately; None if that
            is not known.
    """

    status: Status
    done: int
    total: int
    failed: int
    position: int | None = None
    estimated_wait_s: float | None = None


def read(answer: httpx.Response, parse: Callable[[Any], T]) -> T:
    """What `parse` makes of the JSON of an answer.

    Raises:
        UnexpectedAnswer: it is no JSON, or not what `parse` expects.
    """
    try:
        return parse(answer.json())
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UnexpectedAnswer(
            f"{shown(answer.url)} answered {answer.status_code}, and not as "
            f"Sightline does ({type(error).__name__}: {error}). Is it this service?"
        ) from error


def shown(url: httpx.URL) -> str:
    """`url` without what may be secret in it."""
    return str(url.copy_with(userinfo=b"", query=None))


def problem_in(answer: httpx.Response) -> Problem | UnexpectedAnswer:
    """Why a request failed."""
    after = answer.headers.get("retry-after")
    more = {"retry_after": after} if after and after.isdecimal() else {}
    try:
        return read(answer, lambda body: problem_of(more | body))
    except UnexpectedAnswer as error:
        return error


def answer_of(body: Mapping[str, Any]) -> Answer:
    """Parse what `POST /detect` answers, or a completed picture of a task."""
    timing = Timing(**{name: float(value) for name, value in body["timing"].items()})
    return Answer(_detections(body), body["model"], body["digest"], timing)


def result_of(body: Mapping[str, Any], offset: int, source: str | None) -> Result:
    """Parse an entry of a task's `results`; `offset` pictures were submitted before the task's."""
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
