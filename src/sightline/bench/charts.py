"""Charts as inline SVG: lines, bars and axes, coloured by the page's CSS classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from sightline.bench.stats import Slice

WIDTH, HEIGHT = 480, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 14, 10, 40
_Point = tuple[float, float | None]


def shown_ms(value: float | None) -> str:
    """A duration as text: 8.4 ms, 170 ms, 1.33 s; a dash for None."""
    if value is None:
        return "–"  # noqa: RUF001  a dash for no value
    if value < 999.5:
        return f"{value:.3g} ms"
    return f"{value / 1000:.3g} s" if value < 999_500 else f"{value / 1000:,.0f} s"


def latency_over_time(slices: Sequence[Slice], end: float) -> str:
    """Median, 95th percentile and worst latency of each part of the test.

    `end` is the second after which no more requests were sent.
    """
    if not slices:
        return _svg("Latency over time", _nothing("no request ended"))
    worst = [(part.at_s, part.max_ms) for part in slices]
    frame = _Frame.over(slices, max(ms or 0 for _, ms in worst))
    lines = {
        "worst": worst,
        "second": [(part.at_s, part.p95_ms) for part in slices],
        "first": [(part.at_s, part.p50_ms) for part in slices],
    }
    hints = (
        f"at {part.at_s:.1f} s: p50 {shown_ms(part.p50_ms)}, p95 {shown_ms(part.p95_ms)}, "
        f"max {shown_ms(part.max_ms)}"
        for part in slices
    )
    marks = [frame.line(points, f"line {name}") for name, points in lines.items()]
    return _svg(
        "Latency over time",
        frame.axes("seconds", shown_ms),
        frame.end(end),
        *marks,
        *_hints(frame, slices, hints),
    )


def throughput_over_time(slices: Sequence[Slice], end: float) -> str:
    """Answers with 200 per second, stacked with failures; `end` as above."""
    if not slices:
        return _svg("Throughput over time", _nothing("no request ended"))
    frame = _Frame.over(slices, max(p.ok_per_s + p.failed_per_s for p in slices))
    half = slices[0].at_s
    bars = []
    for part in slices:
        left, right = part.at_s - half, part.at_s + half
        total = part.ok_per_s + part.failed_per_s
        hint = f"at {part.at_s:.1f} s: {part.ok_per_s:.1f} a second"
        if part.failed_per_s:
            hint += f", and {part.failed_per_s:.1f} failed"
        bars.append(frame.bar(left, right, 0, part.ok_per_s, "first", hint))
        bars.append(frame.bar(left, right, part.ok_per_s, total, "failed", hint))
    return _svg("Throughput over time", frame.axes("seconds", _plain), *bars, frame.end(end))


def histogram(bars: Sequence[tuple[float, float, int]], marks: dict[str, float | None]) -> str:
    """Number of requests by latency; `marks` are named latencies to mark, ms."""
    if not bars:
        return _svg("Latencies", _nothing("no request was answered with 200"))
    low = bars[0][0]
    step = bars[0][1] - low or 1.0
    high = low + step * len(bars)
    frame = _Frame(low, high, max(count for *_, count in bars))
    drawn = []
    for index, (start, end, count) in enumerate(bars):
        left = low + index * step
        hint = f"{shown_ms(start)} to {shown_ms(end)}: {count:,}"
        drawn.append(frame.bar(left, left + step, 0, count, "first", hint))
    for row, (name, value) in enumerate(marks.items()):
        if value is not None and low <= value <= high:
            drawn.append(frame.mark(value, name, row))
    ticks = [(value, shown_ms(value)) for value in _ticks(low, high, 4)]
    return _svg("Latencies", frame.axes("", _plain, ticks), *drawn)


def curve(points: Sequence[tuple[float, float]]) -> str:
    """Latency by percentile; each step to the right is ten times rarer."""
    if not points:
        return _svg("Percentiles", _nothing("no request was answered with 200"))
    places = [(-math.log10(1 - percent / 100), ms) for percent, ms in points]
    frame = _Frame(0, max(1.0, places[-1][0]), max(ms for _, ms in places))
    ticks = [(-math.log10(1 - p / 100), f"{p:g}") for p in (0, 50, 90, 99, 99.9, 99.99, 99.999)]
    dots = [
        frame.dot(x, ms, f"{percent:g} %: {shown_ms(ms)}")
        for (percent, _), (x, ms) in zip(points, places, strict=True)
    ]
    return _svg(
        "Percentiles",
        frame.axes("per cent of requests", shown_ms, ticks),
        frame.line(places, "line first"),
        *dots,
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """A plot's coordinate system, from values to pixels; y is from 0 to a little above `top`."""

    low: float
    high: float
    top: float

    @classmethod
    def over(cls, slices: Sequence[Slice], top: float) -> _Frame:
        return cls(0.0, slices[-1].at_s + slices[0].at_s, top)

    def x(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - value / ((self.top or 1.0) * 1.06) * (HEIGHT - _TOP - _BOTTOM)

    def line(self, points: Iterable[_Point], style: str) -> str:
        """A line, broken where there is no value."""
        path, pen = [], "M"
        for x, y in points:
            if y is None:
                pen = "M"
                continue
            # Round caps make a dot of a single point.
            path.append(f"{pen}{self.x(x):.1f} {self.y(y):.1f}{'h0' * (pen == 'M')}")
            pen = "L"
        return f'<path class="{style}" d="{"".join(path)}"/>' if path else ""

    def bar(self, left: float, right: float, low: float, high: float, style: str, hint: str) -> str:
        if high <= low:
            return ""
        x, y = self.x(left), self.y(high)
        width = max(0.5, self.x(right) - x - 1)
        return (
            f'<rect class="bar {style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{self.y(low) - y:.1f}"><title>{escape(hint)}</title></rect>'
        )

    def dot(self, x: float, y: float, hint: str) -> str:
        return (
            f'<circle class="dot first" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3.5">'
            f"<title>{escape(hint)}</title></circle>"
        )

    def end(self, second: float) -> str:
        """A mark where the last request was sent, if answers came much later."""
        return self.mark(second, "load ends") if second < 0.97 * self.high else ""

    def mark(self, value: float, name: str, row: int = 0) -> str:
        x = self.x(value)
        end = ' text-anchor="end"' if x > WIDTH * 0.85 else ""
        return (
            f'<path class="mark" d="M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>'
            f'<text class="note" x="{x + (-4 if end else 4):.1f}" y="{_TOP + 10 + 17 * row}"{end}>'
            f"{escape(name)}</text>"
        )

    def axes(
        self,
        unit: str,
        shown: Callable[[float], str],
        ticks: Sequence[tuple[float, str]] | None = None,
    ) -> str:
        """Grid, labels of both axes, and the x axis's title."""
        bottom = HEIGHT - _BOTTOM
        parts = []
        for value in _ticks(0, (self.top or 1.0) * 1.06, 4):
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
            label = escape(shown(value) if value else "0")
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
        if ticks is None:
            ticks = [(value, _plain(value)) for value in _ticks(self.low, self.high, 6)]
        for value, label in ticks:
            if value <= self.high + 1e-9:
                x = self.x(value)
                parts.append(f'<path class="tick" d="M{x:.1f} {bottom}v4"/>')
                parts.append(
                    f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{label}</text>'
                )
        parts.append(
            f'<text class="unit" x="{WIDTH - _RIGHT}" y="{HEIGHT - 6}" text-anchor="end">'
            f"{unit}</text>"
        )
        return "".join(parts)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round values from `low` to `high`, about `count` of them."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _hints(frame: _Frame, slices: Sequence[Slice], hints: Iterable[str]) -> list[str]:
    """Tooltips, one for each part of the test."""
    half = slices[0].at_s
    return [
        f'<rect class="hint" x="{frame.x(part.at_s - half):.1f}" y="{_TOP}" '
        f'width="{frame.x(2 * half) - frame.x(0):.1f}" height="{HEIGHT - _TOP - _BOTTOM}">'
        f"<title>{escape(hint)}</title></rect>"
        for part, hint in zip(slices, hints, strict=True)
    ]


def _plain(value: float) -> str:
    return f"{value:,.10g}"


def _nothing(why: str) -> str:
    return f'<text x="{WIDTH // 2}" y="{HEIGHT // 2}" text-anchor="middle">{why}</text>'


def _svg(name: str, *parts: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
        f"{''.join(parts)}</svg>"
    )
