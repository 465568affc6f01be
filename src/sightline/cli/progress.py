"""Progress display: a bar on a terminal, plain lines or nothing elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sightline.net.download import Progress
    from sightline.settings import Settings

T = TypeVar("T")

_STEP = 25  # per cent between plain lines


def watched(steps: Iterator[T], what: str, total: int) -> Iterator[T]:
    """Yield `steps`, `total` in all, with a progress bar labelled `what`."""
    if total < 2 or not sys.stderr.isatty():
        return steps
    from rich.console import Console
    from rich.progress import track

    return iter(track(steps, what, total, console=Console(stderr=True), transient=True))


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, total) that shows progress on stderr, labelled `what`."""
    if not sys.stderr.isatty():
        yield _Lines(lambda done, total: f"{what}: {done} of {total}")
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A download `Progress` on stderr; nothing is shown before the first byte."""
    if not sys.stderr.isatty():
        yield _Lines(_pulled)
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    task = bar.add_task("pulling", total=None)
    try:

        def show(done: int, total: int | None) -> None:
            bar.start()
            bar.update(task, completed=done, total=total)

        yield show
    finally:
        bar.stop()


class _Lines:
    """Prints a line at the start, and at every quarter if the total is known."""

    def __init__(self, line: Callable[[int, int | None], str]) -> None:
        self._line = line
        self._next = 0

    def __call__(self, done: int, total: int | None) -> None:
        percent = 0 if total is None else 100 * done // max(total, 1)
        if percent < self._next:
            return
        self._next = percent - percent % _STEP + _STEP
        typer.echo(self._line(done, total), err=True)


def _pulled(done: int, total: int | None) -> str:
    size = "" if total is None else f" of {total / 1e6:.1f} MB"
    return f"pulling: {done / 1e6:.1f} MB{size}"


def find_model(settings: Settings) -> tuple[Settings, str]:
    """`settings` with a local model file, and a notice about it, also printed to stderr.

    Raises:
        ConfigError: there is no model, or it cannot be fetched.
    """
    from sightline.wiring import models

    with shown_progress() as progress:
        settings, notice = models.find_model(settings, progress)
    if notice:
        typer.secho(notice, fg="yellow", err=True)
    return settings, notice
