"""Terminal output of `sightline bench`: a live line while it runs, a table at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from sightline.bench.charts import shown_ms
from sightline.bench.report import DETECT, Words, conclusion, name_of

if TYPE_CHECKING:
    from sightline.bench.inprocess import InProcessLimits
    from sightline.bench.load import OnProgress
    from sightline.bench.plan import Plan
    from sightline.bench.record import RequestRecord
    from sightline.bench.stats import Latency, Summary

_LINES = 10  # of progress, at most, without a terminal


@contextmanager
def shown_load(plan: Plan) -> Iterator[OnProgress]:
    """Show a load test's progress on stderr: one live line on a terminal, a few lines elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(plan)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(
        Text("warming up"), console=Console(stderr=True), transient=True, auto_refresh=False
    ) as live:
        rates = _Rates()

        def on_progress(record: RequestRecord, seconds: float) -> None:
            line = f"{_progress(plan, record, seconds)}   {rates(record, seconds):,.1f}/s now"
            live.update(Text(line, no_wrap=True), refresh=True)

        yield on_progress


@contextmanager
def shown_steps() -> Iterator[Callable[[str], None]]:
    """Show the current measurement on stderr."""
    if not sys.stderr.isatty():
        yield lambda step: typer.echo(step, err=True)
        return
    from rich.console import Console

    with Console(stderr=True).status("loading the model") as status:
        yield status.update


def print_load(
    summary: Summary, *, to_stderr: bool, words: Words = DETECT, submits: Latency | None = None
) -> None:
    """Print the results of a load test."""

    def say(text: str = "") -> None:
        typer.echo(text, err=to_stderr)

    per_s, per_min = f"{summary.ok_per_s:,.1f}", f"{summary.images_per_min:,.0f}"
    say(f"{per_s} {words.counted}/s   {per_min} images a minute\n")
    say("latency  " + "".join(f"{name:>10}" for name in summary.latency.__slots__))
    for name, latency in (("", summary.latency), ("submit", submits)):
        if latency is not None:
            values = (shown_ms(getattr(latency, column)) for column in latency.__slots__)
            say(f"{name:9}" + "".join(f"{value:>10}" for value in values))
    say()
    for ending in summary.endings:
        say(f"{name_of(ending):40} {ending.count:>9,}   median {shown_ms(ending.p50_ms)}")
    sent, received = summary.bytes_sent / 1e6, summary.bytes_received / 1e6
    say(f"\n{sent:,.1f} MB sent, {received:,.1f} MB received in {summary.seconds:.2f} s")
    if summary.waits:
        say(f"Retry-After heeded {summary.waits:,} times, {summary.waited_s:,.1f} s together")
    say(f"this client took {summary.client_cpu:.1%} of one core")
    if not summary.clean or summary.stopped or summary.gave_up:
        typer.secho(conclusion(summary, words), fg="yellow", err=True)


def print_limits(limits: InProcessLimits, *, to_stderr: bool) -> None:
    """Print the table of this machine's limits."""
    what = f"{limits.model} with {limits.engine} on {limits.device}, {limits.precision}"
    heads = f"{'':30}{'images/s':>10}{'ms each':>10}{'ratio':>8}{'least to most':>18}"
    lines = [f"{what}, {'×'.join(map(str, limits.size))}", "", heads]
    for limit in limits.limits:
        rate = limit.median
        spread = f"{min(limit.per_s):,.1f} to {max(limit.per_s):,.1f}"
        lines.append(
            f"{limit.name:30}{rate:>10,.1f}{1000 / rate:>10.1f}{limit.share:>8.2f}{spread:>18}"
        )
    typer.echo("\n".join(lines), err=to_stderr)


class _Rates:
    """Answers per second since the last call."""

    def __init__(self) -> None:
        self._ended = 0
        self._seconds = 0.0

    def __call__(self, record: RequestRecord, seconds: float) -> float:
        count, span = len(record.ended) - self._ended, seconds - self._seconds
        self._ended, self._seconds = len(record.ended), seconds
        return count / span if span else 0.0


def _lines(plan: Plan) -> OnProgress:
    step = max(1, round((plan.duration or 100.0) / _LINES))

    def on_progress(record: RequestRecord, seconds: float) -> None:
        if round(seconds) % step == 0:
            typer.echo(_progress(plan, record, seconds), err=True)

    return on_progress


def _progress(plan: Plan, record: RequestRecord, seconds: float) -> str:
    ended = len(record.ended)
    if plan.duration and seconds > plan.duration:
        return f"waiting for {record.sent - ended:,} last answers"
    whole = f" of {plan.duration:g}" if plan.duration else ""
    most = f" of {plan.requests:,}" if plan.requests else ""
    failures = f", {ended - record.ok:,} failed" if ended > record.ok else ""
    return (
        f"{seconds:.0f}{whole} s: {ended:,}{most} ended{failures}   {ended / seconds:,.1f}/s so far"
    )
