"""A progress bar on a terminal; nothing where stderr is a file or a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


def watched(steps: Iterator[T], what: str, total: int) -> Iterator[T]:
    """`steps` as they are, `total` in all, shown as they pass; `what` names the work."""
    if total < 2 or not sys.stderr.isatty():
        return steps
    from rich.console import Console
    from rich.progress import track

    return iter(track(steps, what, total, console=Console(stderr=True), transient=True))
