"""What a load test shall do, and what is made of what it found."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline import ConfigError
from sightline.bench.about import About, shown_command
from sightline.bench.answers import problem_type
from sightline.bench.charts import shown_ms
from sightline.bench.client import HttpReply
from sightline.bench.phase import retry_after
from sightline.bench.plan import (
    BenchImage,
    Plan,
    check_key,
    parse_duration,
    parse_target,
    read_pictures,
)
from sightline.bench.record import RequestOutcome, RequestRecord
from sightline.bench.report import conclusion, render
from sightline.bench.stats import percentile, summarise

HOSTILE = "<script>alert(1)</script>\"'&<img src=//evil.example/x>"
VOID = {"meta", "br", "link", "img"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("2m", 120),
        ("500ms", 0.5),
        ("1h", 3600),
        ("1m30s", 90),
        ("7", 7),
        ("1.5s", 1.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "10 s", "-1s", "-1", "nan", "inf", "10x", "s10", "1e400"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("url", "shown", "health"),
    [
        ("http://host:80", "http://host:80/detect", "/health"),
        ("https://host/", "https://host/detect", "/health"),
        ("http://h/vision/detect?model=a b".replace(" ", "%20"), None, "/vision/health"),
        ("http://[::1]:8000", "http://[::1]:8000/detect", "/health"),
        ("http://bücher.example", "http://xn--bcher-kva.example/detect", "/health"),
    ],
)
def test_targets(url: str, shown: str | None, health: str) -> None:
    target = parse_target(url)
    assert target.url == (shown or url)
    assert target.health == health


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://host",
        "http://",
        "http://h:99999",
        "http://h/a b",
        "http://h/\r\n",
    ],
)
def test_what_is_no_target(url: str) -> None:
    with pytest.raises(ConfigError, match="no address"):
        parse_target(url)


def test_a_key_goes_by_its_own_option() -> None:
    with pytest.raises(ConfigError, match="--key"):
        parse_target("http://user:secret@host")
    with pytest.raises(ConfigError, match="key has characters"):
        check_key("a\r\nX-Evil: 1")
    assert check_key("") is None
    shown = shown_command(
        ["bench", "http://h", "--key", "secret", "--key=secret", "--image", "a b"]
    )
    assert shown == "sightline bench http://h --key *** --key=*** --image 'a b'"


@given(st.text(), st.binary())
def test_a_request_is_one_whole_request(name: str, data: bytes) -> None:
    """However a picture is called: no name breaks out of its header, and the length is right."""
    plan = Plan(parse_target("http://h"), (), key="k")
    head, _, body = plan.encode(BenchImage(name, data)).partition(b"\r\n\r\n")
    assert len(head.split(b"\r\n")) == 7
    assert f"Content-Length: {len(body)}".encode() in head
    part, _, rest = body.partition(b"\r\n\r\n")
    assert len(part.split(b"\r\n")) == 3
    assert part.count(b'"') == 4
    boundary = re.search(rb"boundary=(\w+)", head)
    assert boundary
    assert rest == data + b"\r\n--" + boundary[1] + b"--\r\n"


def test_pictures_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    with pytest.raises(ConfigError, match="missing"):
        read_pictures([tmp_path / "missing.jpg"])
    monkeypatch.setattr("sightline.bench.plan.MOST_BYTES", 9)
    with pytest.raises(ConfigError, match="name fewer"):
        read_pictures([tmp_path / "a.jpg"] * 2)


@given(st.lists(st.floats(0, 1e9), min_size=1), st.sampled_from([0.0, 50.0, 90.0, 99.0, 100.0]))
def test_percentiles_are_the_nearest_rank(values: list[float], percent: float) -> None:
    found = percentile(np.array(values), percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9
    assert sum(value < found for value in values) < max(percent / 100 * len(values), 1)


def test_percentiles_by_hand() -> None:
    values = np.arange(1.0, 101.0)
    assert [percentile(values, p) for p in (50, 90, 95, 99, 100)] == [50, 90, 95, 99, 100]
    assert percentile(np.array([]), 50) is None


def recorded(
    *ended: tuple[float, float, RequestOutcome], sending: float = 10.0, sent: int = 0
) -> RequestRecord:
    record = RequestRecord(sent=sent or len(ended), sending=sending)
    for one in ended:
        record.add(*one)
    return record


def test_figures_are_of_what_was_answered_with_200() -> None:
    answers = [(i / 10, 0.1, RequestOutcome(200)) for i in range(1, 101)]
    refused = [
        (i / 10, 0.001, RequestOutcome(503, "urn:sightline:problem:overloaded")) for i in range(50)
    ]
    summary = summarise(
        recorded(*answers, *refused, (12.0, 2.0, RequestOutcome(0, "timed out")), sent=153)
    )
    assert (summary.ok, summary.answered, summary.errors) == (100, 150, 1)
    assert summary.seconds == 10
    assert (summary.ok_per_s, summary.images_per_min) == (10, 600)
    assert summary.latency.p50 == summary.latency.max == pytest.approx(100)
    assert [(end.status, end.count) for end in summary.endings] == [(200, 100), (503, 50), (0, 1)]
    width = summary.seconds / len(summary.slices)
    assert sum(part.ok_per_s * width for part in summary.slices) == pytest.approx(100)
    assert sum(part.failed_per_s * width for part in summary.slices) == pytest.approx(51)
    assert not summary.clean


def test_an_answer_after_the_end_lengthens_the_test() -> None:
    summary = summarise(
        recorded((1, 1, RequestOutcome(200)), (20, 19, RequestOutcome(200)), sending=10)
    )
    assert summary.seconds == 20
    assert summary.ok_per_s == pytest.approx(0.1)


@given(st.lists(st.floats(1e-4, 100), min_size=1, max_size=200))
def test_a_histogram_holds_every_request(took: list[float]) -> None:
    summary = summarise(recorded(*((1.0, seconds, RequestOutcome(200)) for seconds in took)))
    assert sum(count for *_, count in summary.histogram) == len(took)
    assert summary.histogram[-1][1] == pytest.approx(max(took) * 1000)
    assert [ms for _, ms in summary.curve] == sorted(ms for _, ms in summary.curve)


@pytest.mark.parametrize(
    ("record", "clean"),
    [
        (recorded((1, 1, RequestOutcome(200))), True),
        (recorded((1, 1, RequestOutcome(200)), sent=2), False),
        (recorded((1, 1, RequestOutcome(404))), False),
        (recorded(), False),
        (RequestRecord(sent=1, unfinished=1, stopped=True), True),
        (RequestRecord(sent=0, unsent=3), False),
    ],
)
def test_clean_means_that_all_was_answered_with_200(record: RequestRecord, clean: bool) -> None:
    assert summarise(record).clean is clean


class Page(HTMLParser):
    """Checks that tags nest; collects them with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def many() -> RequestRecord:
    rng = np.random.default_rng(0)
    ended = [(i / 100, float(rng.gamma(2, 0.01)), RequestOutcome(200)) for i in range(1000)]
    return recorded(
        *ended, (5.0, 3.0, RequestOutcome(0, "reset")), (6.0, 0.1, RequestOutcome(500, HOSTILE))
    )


RECORDS = {
    "many": many(),
    "nothing": RequestRecord(),
    "all failed": recorded(*((i / 10, 0.1, RequestOutcome(401, "urn:x")) for i in range(99))),
    "no answer": recorded(*((i / 10, 0.1, RequestOutcome(0, "refused")) for i in range(9))),
    "one": recorded((1, 1, RequestOutcome(200))),
    "alike": recorded(*((i / 10, 0.1, RequestOutcome(200)) for i in range(99))),
    "stopped": RequestRecord(sent=3, unfinished=3, stopped=True, gave_up=HOSTILE, unsent=2),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_report_is_one_valid_page_that_needs_nothing_else(name: str) -> None:
    plan = Plan(
        parse_target("http://127.0.0.1:8000/detect?classes=<b>dog</b>&x=%22"),
        (BenchImage(HOSTILE, b""),),
    )
    about = About(f"sightline bench {HOSTILE}", service={"model": HOSTILE, "engine": None})
    summary = summarise(RECORDS[name])
    html = render(plan, summary, about)
    page = Page(html)
    assert page.text.count(HOSTILE) >= 3, "shown as it is, and not obeyed"
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "image", "use", "a", "base"}
    for _, attributes in page.tags:
        assert not {"src", "href", "xlink:href", "srcset"} & attributes.keys()
        assert not [key for key in attributes if key.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html
    plots = re.findall(r"<svg.*?</svg>", html)
    assert len(plots) == 4
    for plot in plots:
        ET.fromstring(plot)  # noqa: S314  our own
        assert "nan" not in plot
    assert conclusion(summary) in page.text
    json.dumps(asdict(summary) | asdict(about), allow_nan=False)


def test_a_report_says_what_makes_it_worth_something() -> None:
    plan = Plan(parse_target("http://127.0.0.1:8000"), (BenchImage("dog.jpg", b""),), rate=50)
    about = About("sightline bench X", service={"model": "yolox-tiny", "engine": "openvino"})
    text = Page(render(plan, summarise(many()), about)).text
    for told in ("open loop, 50 requests a second", "dog.jpg", "sightline bench X", about.date):
        assert told in text
    for told in (*about.machine.values(), *about.versions.values(), "model yolox-tiny"):
        assert told in text


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, "–"),  # noqa: RUF001  a dash for what is not there
        (0, "0 ms"),
        (8.444, "8.44 ms"),
        (999.4, "999 ms"),
        (999.6, "1 s"),
        (1326, "1.33 s"),
        (3_600_000, "3,600 s"),
    ],
)
def test_times_as_people_read_them(ms: float | None, shown: str) -> None:
    assert shown_ms(ms) == shown


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("3", 3), ("0", 0), ("", None), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after(told: str, seconds: float | None) -> None:
    assert retry_after(HttpReply(503, {"retry-after": told})) == seconds


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("application/problem+json", b'{"type": "urn:x", "title": "T"}', "urn:x"),
        ("application/problem+json", b'{"type": "about:blank", "title": "T"}', "T"),
        ("application/json", b'{"detail": "no"}', ""),
        ("application/json", b"[1]", ""),
        ("application/json", b"{", ""),
        ("text/html", b"<html>", ""),
    ],
)
def test_problem_types(kind: str, body: bytes, told: str) -> None:
    assert problem_type(HttpReply(500, {"content-type": kind}, bytearray(body))) == told
