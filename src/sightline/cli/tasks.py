"""`sightline tasks`: the queue of a running service, over HTTP."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer

from sightline.cli.service_client import ServiceClient, open_service, retry_until
from sightline.errors import SightlineError

tasks = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The tasks of a running service: list, show, watch, cancel, retry.",
)

_WAIT = 20  # seconds of long polling: the service holds its response until there is a change
_ENDED = frozenset({"completed", "error", "cancelled"})
_COLUMNS = ("", "picture", "status", "found")

TaskId = Annotated[str, typer.Argument(help="The task_id that POST /predict answered.")]
Url = Annotated[str, typer.Option(help="The service.", envvar="SIGHTLINE_URL", show_envvar=False)]
Key = Annotated[
    str | None,
    typer.Option(
        help="Sent as Authorization: Bearer; also SIGHTLINE_KEY. The admin key sees everybody's.",
        envvar=["SIGHTLINE_KEY", "SIGHTLINE_API_KEY"],
        show_envvar=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON lines instead of words.")]
_HERE = "http://127.0.0.1:8000"


@tasks.command("list")
def list_tasks(url: Url = _HERE, key: Key = None, as_json: Json = False) -> None:
    """The queue at a glance: tasks by status and priority, and with the admin key their ids."""
    with open_service(url, key) as service:
        glance = service("GET", "/tasks")[0]
    if as_json:
        typer.echo(json.dumps(glance))
        return
    for name, value in glance.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{count:,} {what}" for what, count in value.items()) or "none"
        elif isinstance(value, list):
            shown = "".join(f"\n  {one}" for one in value) or "none"
        else:
            shown = f"{value:,}" if isinstance(value, int) else str(value)
        typer.echo(f"{name.replace('_', ' ')}: {shown}")


@tasks.command()
def show(task_id: TaskId, url: Url = _HERE, key: Key = None, as_json: Json = False) -> None:
    """One task: how far it is, and what was found in each picture."""
    with open_service(url, key) as service:
        _show(service("GET", f"/result/{task_id}")[0], as_json)


@tasks.command()
def watch(
    task_id: TaskId,
    url: Url = _HERE,
    key: Key = None,
    as_json: Json = False,
    retry_timeout: Annotated[
        float,
        typer.Option(
            "--patience",
            min=0,
            help="Seconds to go on for while the service is away or overloaded.",
        ),
    ] = 60.0,
) -> None:
    """Follow a task until it ends; the exit code is 0 if every picture was done, else 1."""
    with open_service(url, key) as service:
        task = _follow(service, task_id, as_json, retry_timeout)
    if not as_json:
        _show(task, as_json=False)
    if task["status"] != "completed" or task["progress"]["failed"]:
        raise typer.Exit(1)


@tasks.command()
def cancel(
    task_id: TaskId,
    url: Url = _HERE,
    key: Key = None,
    as_json: Json = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Remove it and its pictures, if it has ended.")
    ] = False,
) -> None:
    """Cancel a task: what has not begun is never run. One that has ended is left alone."""
    with open_service(url, key) as service:
        answer, _ = service("DELETE", f"/result/{task_id}", forget=str(forget).lower())
    status = answer.get("status", "forgotten")
    if status not in {"cancelled", "forgotten"}:
        raise SightlineError(
            f"there is nothing to cancel: it is {status}. --forget removes what is left of it"
        )
    _print_answer(answer, f"{task_id} is {status}", as_json)


@tasks.command()
def retry(task_id: TaskId, url: Url = _HERE, key: Key = None, as_json: Json = False) -> None:
    """Run the pictures of a task that failed once more."""
    with open_service(url, key) as service:
        answer, _ = service("POST", f"/result/{task_id}/retry")
    _print_answer(answer, f"{task_id} is {answer.get('status', 'queued')}", as_json)


def _print_answer(answer: dict[str, Any], words: str, as_json: bool) -> None:
    typer.echo(json.dumps(answer) if as_json else words)


def _follow(
    service: ServiceClient, task_id: str, as_json: bool, retry_timeout: float
) -> dict[str, Any]:
    """Print each change until the task has ended; returns the task."""
    seen: dict[str, Any] = {}
    headers: dict[str, str] = {}
    while True:
        began = time.monotonic()
        poll = partial(service, "GET", f"/result/{task_id}", headers, wait=str(_WAIT))
        task, received = retry_until(poll, retry_timeout, known=bool(seen))
        if "etag" in received:
            headers["If-None-Match"] = received["etag"]
        if task and task != seen:
            seen = task
            typer.echo(json.dumps(task) if as_json else _line(task), err=not as_json)
            if task["status"] in _ENDED:
                return task
        if time.monotonic() - began < 1:  # the response was not held
            time.sleep(min(float(received.get("retry-after", 1)), _WAIT))


def _line(task: dict[str, Any]) -> str:
    progress = task["progress"]
    failed = f", {progress['failed']:,} failed" if progress["failed"] else ""
    queue = task.get("queue") or {}
    place = f", {queue['position']:,} before it" if queue.get("position") else ""
    if queue.get("estimated_wait_s"):
        place += f", about {queue['estimated_wait_s']:.0f} s"
    return f"{task['status']}: {progress['done']:,} of {progress['total']:,}{failed}{place}"


def _show(task: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(task))
        return
    typer.echo(f"{task['task_id']}  {_line(task)}")
    for name in ("created", "started", "completed", "expires"):
        if moment := task.get(f"{name}_at"):
            typer.echo(f"{name:10}{_local(moment)}")
    rows = [_row(result) for result in task.get("results") or ()]
    if rows and sys.stdout.isatty():
        _print_table(rows)
    else:
        for row in rows:
            typer.echo("  ".join(row))
    if webhook := task.get("webhook"):
        typer.echo(f"callback {webhook['state']}: {webhook['url']}")
        for attempt in webhook.get("attempts") or ():
            what = attempt.get("error") or f"answered {attempt.get('status')}"
            typer.echo(f"  {_local(attempt['at'])}  {what}")


def _local(moment: str) -> str:
    """An ISO 8601 time in the local time zone."""
    return datetime.fromisoformat(moment).astimezone().isoformat(" ", timespec="seconds")


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    if error := result.get("error"):
        found = str(error.get("detail") or error.get("title"))
    else:
        labels = [one["label"] for one in result.get("detections") or ()]
        counts = {label: labels.count(label) for label in labels}
        found = ", ".join(f"{count} {label}" for label, count in counts.items())
    cells = (str(result["index"]), result.get("filename") or "", result["status"], found)
    return tuple(_printable(cell) for cell in cells)


def _printable(text: str) -> str:
    """Replace control characters: file names come from clients, and could move the cursor."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
