"""The HTML report of a load test: one self-contained file without scripts."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from sightline.bench import charts
from sightline.bench.about import About
from sightline.bench.charts import shown_ms
from sightline.bench.plan import Plan
from sightline.bench.stats import Ending, Latency, Summary

# Nothing may be loaded: parts of the page come from the service under test.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class Words:
    """Wording of a report: the unit that is counted, and its success."""

    counted: str
    fine: str
    timed: str


DETECT = Words("requests", "answered with 200", "Of answers with 200.")
TASKS = Words(
    "pictures",
    "done, each with its own result",
    "Of pictures that were done: from the submission of their task to when its end was seen.",
)


def words_for(plan: Plan) -> Words:
    return TASKS if plan.batch else DETECT


def render(plan: Plan, summary: Summary, about: About, submits: Latency | None = None) -> str:
    """The report as HTML; `submits` are the latencies of task submissions."""
    title = f"Load on {plan.target.url}"
    style = Path(__file__).with_name("page.css").read_text("utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="under">{escape(_how(plan))} · {escape(about.date)}</p>\n'
        f"{_conclusion(plan, summary)}\n{_tiles(plan, summary)}\n"
        f"{_cards(plan, summary, about, submits)}\n"
        "</main>\n</body>\n</html>\n"
    )


def conclusion(summary: Summary, words: Words = DETECT) -> str:
    """A summary in one to three sentences."""
    sentences = [f"{summary.ok:,} of {summary.sent:,} {words.counted} were {words.fine}"]
    if summary.ok:
        sentences[0] += (
            f": {summary.ok_per_s:,.1f} a second, half of them within "
            f"{shown_ms(summary.latency.p50)}, 99 % within {shown_ms(summary.latency.p99)}"
        )
    if failures := [name_of(end) for end in summary.endings if end.status != 200]:
        sentences.append(f"The others: {', '.join(failures[:4])}")
    if summary.unsent:
        sentences.append(
            f"It did not keep up: {summary.unsent:,} more requests were due and never sent, since "
            "every client was busy; true latencies are higher than those shown"
        )
    if summary.stopped:
        sentences.append(f"Ended by hand, with {summary.unfinished:,} under way")
    if summary.gave_up:
        sentences.append(f"Ended early: {summary.gave_up}")
    return ". ".join(sentences) + "."


def name_of(ending: Ending) -> str:
    """An outcome's name: 200, 503 overloaded, timed out."""
    kind = ending.kind.removeprefix("urn:sightline:problem:")
    return f"{ending.status} {kind}".strip() if ending.status else ending.kind


def _how(plan: Plan) -> str:
    clients = f"{plan.concurrency} client{'s' * (plan.concurrency != 1)}"
    count = len(plan.pictures)
    loop = (
        f"open loop, {plan.rate:g} requests a second over at most {clients}"
        if plan.rate
        else f"closed loop, {clients}"
    )
    pictures = plan.pictures[0].name if count == 1 else f"{count} pictures in turn"
    tasks = f", tasks of {plan.batch}" if plan.batch else ""
    return f"{loop}{tasks}, {pictures}"


def _conclusion(plan: Plan, summary: Summary) -> str:
    style = "conclusion" if summary.clean and not summary.gave_up else "conclusion bad"
    return f'<p class="{style}">{escape(conclusion(summary, words_for(plan)))}</p>'


def _tiles(plan: Plan, summary: Summary) -> str:
    failed = summary.sent - summary.ok - summary.unfinished
    figures = {
        f"{words_for(plan).counted} a second": f"{summary.ok_per_s:,.1f}",
        "images a minute": f"{summary.images_per_min:,.0f}",
        "median latency": shown_ms(summary.latency.p50),
        "95 % within": shown_ms(summary.latency.p95),
        "99 % within": shown_ms(summary.latency.p99),
        "failed": f"{failed:,}",
    }
    tiles = (
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in figures.items()
    )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _cards(plan: Plan, summary: Summary, about: About, submits: Latency | None) -> str:
    words = words_for(plan)
    marks = {"p50": summary.latency.p50, "p95": summary.latency.p95}
    cards = (
        _card(
            "Throughput over time",
            _key(first=f"{words.fine}, a second", failed="failed"),
            charts.throughput_over_time(summary.slices, summary.sending_s),
        ),
        _card(
            "Latency over time",
            _key(first="median", second="95th percentile", worst="slowest"),
            charts.latency_over_time(summary.slices, summary.sending_s),
        ),
        _card(
            f"How long {words.counted} took",
            _key(first=f"{words.counted}; the last bar holds all that are slower"),
            charts.histogram(summary.histogram, marks),
        ),
        _card(
            "Latency by percentile",
            _key(first="so many per cent are answered within"),
            charts.curve(summary.curve),
        ),
        _card(f"How {words.counted} ended", _endings(summary, words), ""),
        _card("Latency", *_latencies(plan, summary.latency)),
        "" if submits is None else _card("Submitting a task", "", _row(_shown(submits))),
        _card("The run", _table(_run_facts(plan, summary)), "", wide=True),
        _card("Where it ran", _table(_facts(about)), "", wide=True),
    )
    return f'<div class="cards">\n{"".join(cards)}</div>'


def _latencies(plan: Plan, latency: Latency) -> tuple[str, str]:
    closed = (
        "Closed loop: while the service stalls, less is asked of it, so a stall shows in few "
        "requests; --rate measures without that."
    )
    opened = "Counted from when each request was due, not from when a client was free to send it."
    timed = words_for(plan).timed
    say = f'<p class="say">{escape(timed)} {opened if plan.rate else closed}</p>'
    return say, _row(_shown(latency))


def _shown(latency: Latency) -> dict[str, str]:
    return {name: shown_ms(getattr(latency, name)) for name in latency.__slots__}


def _card(name: str, first: str, second: str, *, wide: bool = False) -> str:
    style = "card wide" if wide else "card"
    return f'<section class="{style}"><h2>{name}</h2>{first}{second}</section>\n'


def _key(**entries: str) -> str:
    shown = (f'<span><i class="{style}"></i>{name}</span>' for style, name in entries.items())
    return f'<div class="key">{"".join(shown)}</div>'


def _endings(summary: Summary, words: Words) -> str:
    total = sum(ending.count for ending in summary.endings) or 1
    bar, rows = [], []
    for ending in summary.endings:
        style = "first" if ending.status == 200 else "failed"
        name = escape(name_of(ending))
        share = 100 * ending.count / total
        bar.append(
            f'<span class="{style}" style="width:{share:.3f}%" '
            f'title="{name}: {ending.count:,}"></span>'
        )
        cells = (f"{ending.count:,}", f"{share:.1f} %", shown_ms(ending.p50_ms))
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f"<tr><td>{name}</td>{numbers}</tr>")
    heads = "".join(
        f'<th class="number">{name}</th>' for name in (words.counted, "share", "median")
    )
    return (
        f'<div class="share">{"".join(bar)}</div><table><thead><tr><th>ended with</th>{heads}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _run_facts(plan: Plan, summary: Summary) -> dict[str, str]:
    facts = {
        words_for(
            plan
        ).counted: f"{summary.sent:,} sent, {summary.answered:,} answered, {summary.errors:,} "
        f"without an answer, in {summary.seconds:.2f} s (after {plan.warm_up:g} s of warm-up)",
        "bytes": f"{summary.bytes_sent / 1e6:,.1f} MB sent, "
        f"{summary.bytes_received / 1e6:,.1f} MB received",
        "the load client": f"{summary.client_cpu:.1%} of one core",
        "Retry-After": f"heeded {summary.waits:,} times, {summary.waited_s:,.1f} s together"
        if plan.wait and not plan.rate
        else "not heeded",
    }
    if summary.unfinished or summary.unsent:
        facts["not counted"] = f"{summary.unfinished:,} cut off, {summary.unsent:,} due, never sent"
    return facts


def _facts(about: About) -> dict[str, str]:
    wanted = ("version", "model", "family", "engine", "device", "precision", "digest")
    service = ", ".join(f"{name} {about.service[name]}" for name in wanted if name in about.service)
    return {
        "command": about.command,
        "date": about.date,
        "service": service or "it does not say",
        "client's machine": ", ".join(f"{name}: {value}" for name, value in about.machine.items()),
        "installed here": ", ".join(f"{name} {value}" for name, value in about.versions.items()),
    }


def _row(figures: dict[str, str]) -> str:
    """Figures side by side."""
    cells = (f"<div><span>{name}</span><b>{value}</b></div>" for name, value in figures.items())
    return f'<div class="row">{"".join(cells)}</div>'


def _table(facts: dict[str, str]) -> str:
    rows = (
        f"<tr><th>{escape(name)}</th><td>"
        f"{f'<code>{escape(value)}</code>' if name == 'command' else escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table>{''.join(rows)}</table>"
