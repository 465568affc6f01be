"""`sightline bench`: how fast is it?"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sightline.bench.plan import (
    BenchImage,
    Plan,
    check_key,
    parse_duration,
    parse_target,
    read_pictures,
)
from sightline.cli.sources import expand
from sightline.errors import ConfigError
from sightline.settings import load_settings

if TYPE_CHECKING:
    from types import FrameType

    from sightline.bench.about import About

_DURATION = "10s"
_ENGINE_DURATION = "3s"
_ROUNDS = 3
_ONE = "detect"  # a picture a request

Where = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[URL] [PICTURES]...",
        help="The service: http://host:port, or the whole address of what detects. More pictures "
        "may follow, so that --image photos/*.jpg works.",
    ),
]
Image = Annotated[
    list[str] | None,
    typer.Option(help="File, folder or glob, sent in turn; may be repeated. A drawn scene if not."),
]
Engine = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Measure this model on this machine instead: the network alone, the detector in this "
        "process, and the service over HTTP. A path, or a name that `sightline models` lists; "
        "SIGHTLINE_ENGINE and SIGHTLINE_DEVICE say what runs it.",
    ),
]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Clients, each with one connection that it keeps.")
]
Duration = Annotated[
    str | None,
    typer.Option(
        help=f"How long: 10s, 2m. [default: {_DURATION}; with --engine {_ENGINE_DURATION} a figure "
        f"in each of {_ROUNDS} rounds]",
        show_default=False,
    ),
]
Requests = Annotated[
    int | None, typer.Option(min=1, help="End after so many requests (or after --duration).")
]
Rate = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        help="Requests a second that arrive whether or not earlier ones were answered (open "
        "loop). Latency then counts from when a request was due, so a stall shows in all that it "
        "delays (no coordinated omission). Without it each client sends its next when answered "
        "(closed loop), and a stalled service is asked less.",
    ),
]
WarmUp = Annotated[str, typer.Option(help="The same load before, not counted; 0 for none.")]
Timeout = Annotated[str, typer.Option(help="Longest wait for one answer.")]
Key = Annotated[
    str | None,
    typer.Option(
        help="Sent as Authorization: Bearer; also SIGHTLINE_API_KEY.",
        envvar="SIGHTLINE_API_KEY",
        show_envvar=False,
    ),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait/--no-wait",
        help="A client that gets 429 or 503 waits as Retry-After says (not with --rate); "
        "--no-wait asks again at once.",
    ),
]
Save = Annotated[
    Path | None,
    typer.Option(
        help="Folder for annotated answers, the first of each picture. Asks for image/jpeg."
    ),
]
Mode = Annotated[
    Literal["detect", "tasks"],
    typer.Option(
        help="detect: a picture a request. tasks: each client submits --batch pictures as a task, "
        "asks until it has ended, and checks that each result is there and its own picture's; "
        "--requests and --rate count tasks then, and all other figures pictures."
    ),
]
Batch = Annotated[int, typer.Option(min=1, max=100, help="Pictures a task.")]
Json = Annotated[
    Path | None, typer.Option("--json", help="File for all figures as JSON; - is stdout.")
]
Html = Annotated[
    Path | None, typer.Option("--html", help="File for a report with plots: one page, no script.")
]


def bench(
    where: Where = None,
    image: Image = None,
    engine: Engine = None,
    concurrency: Concurrency = 8,
    duration: Duration = None,
    requests: Requests = None,
    rate: Rate = None,
    warm_up: WarmUp = "1s",
    timeout: Timeout = "30s",
    key: Key = None,
    wait: Wait = True,
    save: Save = None,
    json_file: Json = None,
    html: Html = None,
    mode: Mode = "detect",
    batch: Batch = 10,
) -> None:
    """Measure a service under load, or what this machine can do with a model.

    Latencies are of answers with 200. Ctrl-C ends early and still reports. The exit code is 0 if
    every request was answered with 200 (every picture of a task done), 1 if not, 2 if it could not
    start.
    """
    url, more = _split(where or [], engine, bool(html or save or rate or requests or mode != _ONE))
    pictures = _pictures([*(image or []), *more])
    if engine is not None:
        _measure_engine(engine, pictures, duration or _ENGINE_DURATION, json_file)
        return
    plan = _plan(url, pictures, mode, batch, save)
    plan = replace(plan, duration=_lasting(duration, requests), requests=requests, rate=rate)
    plan = replace(plan, warm_up=parse_duration(warm_up), timeout=_seconds(timeout))
    plan = replace(plan, concurrency=concurrency, key=check_key(key), wait=wait)
    _measure_service(plan, json_file, html)


def _plan(
    url: str, pictures: tuple[BenchImage, ...], mode: str, batch: int, save: Path | None
) -> Plan:
    """The load test's plan, by mode.

    Raises:
        ConfigError: `url` is not an address, or an option does not work with tasks.
    """
    if mode == _ONE:
        return Plan(parse_target(url), pictures, save=save)
    if save:
        raise ConfigError("--save goes with --mode detect: examples/stress_predict.py saves")
    return Plan(parse_target(url, "/predict"), pictures, batch=batch)


def _split(where: list[str], engine: str | None, loads: bool) -> tuple[str, list[str]]:
    """Split the arguments into the one address ("" with `engine`) and the pictures.

    Raises:
        ConfigError: there is not exactly one thing to measure, or `loads`: options were given that
            only apply to a service.
    """
    urls = [text for text in where if text.startswith(("http://", "https://"))]
    if len(urls) != (engine is None):
        raise ConfigError(
            "name one thing to measure: the address of a service (http://host:port), or --engine"
        )
    if engine is not None and loads:
        raise ConfigError("--engine goes with --image, --duration and --json alone")
    return "".join(urls), [text for text in where if text not in urls]


def _lasting(duration: str | None, requests: int | None) -> float | None:
    """Duration of the test in seconds; None if the number of requests ends it."""
    if duration is None and requests is not None:
        return None
    return _seconds(duration or _DURATION)


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise ConfigError(f"'{text}' is too short: write 10s or 2m")
    return seconds


def _pictures(names: list[str]) -> tuple[BenchImage, ...]:
    if names:
        return read_pictures([Path(name).expanduser() for name in expand(names)])
    from sightline.demo.scenes import make_scene
    from sightline.vision.draw import encode_jpeg

    return (BenchImage("scene.jpg", encode_jpeg(make_scene(0, 1280, 720).image)),)


def _measure_service(plan: Plan, json_file: Path | None, html: Path | None) -> None:
    from sightline.bench.about import About, shown_command
    from sightline.bench.load import Load, run_load
    from sightline.bench.report import render, words_for
    from sightline.bench.stats import latency_of, summarise
    from sightline.bench.tasks import TaskLoad
    from sightline.cli.figures import print_load, shown_load

    for file in (json_file, html):
        _require_writable(file)
    with shown_load(plan) as on_progress:
        load = TaskLoad(plan, on_progress) if plan.batch else Load(plan, on_progress)
        record, service = run_load(load)
    summary = summarise(record)
    about = About(shown_command(sys.argv[1:]), service=service)
    submits = latency_of(load.submits_ms()) if isinstance(load, TaskLoad) else None
    print_load(summary, to_stderr=json_file == Path("-"), words=words_for(plan), submits=submits)
    if html:
        html.write_text(render(plan, summary, about, submits), "utf-8")
    tasks = {} if submits is None else {"submit": asdict(submits)}
    _write_json(json_file, about, load=_parameters(plan), **asdict(summary), **tasks)
    if not summary.clean or summary.gave_up:
        raise typer.Exit(1)


def _parameters(plan: Plan) -> dict[str, Any]:
    """The load test's parameters, for the JSON output."""
    return {
        "url": plan.target.url,
        "mode": "tasks" if plan.batch else "detect",
        "batch": plan.batch,
        "loop": "open" if plan.rate else "closed",
        "concurrency": plan.concurrency,
        "rate": plan.rate,
        "duration_s": plan.duration,
        "requests": plan.requests,
        "warm_up_s": plan.warm_up,
        "timeout_s": plan.timeout,
        "retry_after_heeded": plan.wait and not plan.rate,
        "pictures": [picture.name for picture in plan.pictures],
    }


def _measure_engine(
    model: str, pictures: tuple[BenchImage, ...], duration: str, json_file: Path | None
) -> None:
    from sightline.bench.about import About, shown_command
    from sightline.bench.inprocess import measure
    from sightline.cli.figures import print_limits, shown_steps
    from sightline.cli.progress import find_model

    seconds = _seconds(duration)
    _require_writable(json_file)
    settings, _ = find_model(load_settings(model=model))
    signal.signal(signal.SIGTERM, _stop)
    with shown_steps() as on_step:
        limits = measure(settings, pictures, seconds, _ROUNDS, on_step)
    print_limits(limits, to_stderr=json_file == Path("-"))
    about = About(shown_command(sys.argv[1:]))
    _write_json(json_file, about, seconds=seconds, rounds=_ROUNDS, **asdict(limits))


def _stop(number: int, _frame: FrameType | None) -> None:
    """Exit by an exception, so that the child service is stopped too."""
    raise SystemExit(128 + number)


def _require_writable(file: Path | None) -> None:
    """Raise OSError now, rather than after the measurement."""
    if file is not None and file != Path("-"):
        with file.open("a"):
            pass


def _write_json(file: Path | None, about: About, **figures: Any) -> None:
    if file is None:
        return
    text = json.dumps({**asdict(about), **figures}, indent=1)
    if file == Path("-"):
        typer.echo(text)
    else:
        file.write_text(f"{text}\n", "utf-8")
