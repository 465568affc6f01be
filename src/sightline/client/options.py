"""Options of `detect` and `submit`: keyword arguments of both clients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_KEY = 200
"""Most characters of an idempotency key; the service takes 255, each task's gets a suffix."""


class DetectArguments(TypedDict, total=False):
    """Options of `detect`. Options that are left out get the service's defaults.

    Attributes:
        confidence: lowest confidence reported, 0..1.
        iou: boxes of one class that overlap more than this are one object, 0..1.
        classes: labels or class ids to report.
        max_detections: most boxes reported, best first.
        model: name of the model.
    """

    confidence: float
    iou: float
    classes: Iterable[str | int]
    max_detections: int
    model: str


class SubmitArguments(DetectArguments, total=False):
    """Options of `submit`: those of `detect`, and options of the task.

    Attributes:
        priority: `high` gets eight times the share of `low`, and twice that of `normal`.
        callback_url: called when a task has ended; with more than 100 pictures, once per task.
        strict: refuse all pictures if one file is not a picture; else only that one fails.
        idempotency_key: up to 200 characters that identify this submission: submitting the same
            pictures with the same key again makes no new tasks, from any program.
    """

    priority: Literal["high", "normal", "low"]
    callback_url: str
    strict: bool
    idempotency_key: str


def key_of(options: SubmitArguments) -> str | None:
    """The `idempotency_key`, if there is one.

    Raises:
        ValueError: it is empty, too long, or not printable ASCII.
    """
    key = options.get("idempotency_key")
    if key is not None and not (0 < len(key) <= _LONGEST_KEY and is_printable(key)):
        raise ValueError(
            f"idempotency_key must be 1 to {_LONGEST_KEY} printable ASCII characters, not {key!r}."
        )
    return key


def is_printable(text: str) -> bool:
    """Whether `text` is valid in a header: printable ASCII."""
    return text.isascii() and text.isprintable()


def params_of(options: Mapping[str, Any], known: type[DetectArguments]) -> dict[str, Any]:
    """`options` as query parameters.

    Raises:
        TypeError: one is not in `known`.
    """
    names = known.__annotations__
    if unknown := options.keys() - names:
        raise TypeError(f"There is no option '{min(unknown)}'; there are: {', '.join(names)}.")
    params = {name: value for name, value in options.items() if name != "idempotency_key"}
    if (classes := params.get("classes")) is not None:
        several = [classes] if isinstance(classes, str) else classes
        params["classes"] = [str(one) for one in several]
    return params
