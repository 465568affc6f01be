"""A task as JSON."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from sightline.api.problems import failure_body
from sightline.tasks.task import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from sightline.tasks.task import Image, Task

    Run: TypeAlias = Callable[[Callable[[Task], bytes], Task], Coroutine[Any, Any, bytes]]

_SLOWEST_POLL = 10  # seconds
_KEPT_BYTES = 8 * 2**20
_SMALL = 32 * 1024  # bytes of answers that are written sooner than handed to a thread


def accepted(task: Task) -> dict[str, Any]:
    """What a submission is answered with, the first time and every time it comes again."""
    refused = sum(image.status == "error" and image.attempts == 0 for image in task.images)
    return {
        "task_id": task.id,
        "status": "queued",
        "priority": task.priority,
        "total": len(task.images),
        "failed": refused,
        "created_at": _time(task.created),
    }


def head_of(task: Task, queue: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All of a task but its results."""
    head: dict[str, Any] = {
        "task_id": task.id,
        "status": task.status,
        "priority": task.priority,
        "model": task.model or task.answered,
        "digest": task.digest,
        "created_at": _time(task.created),
        "started_at": _time(task.started),
        "completed_at": _time(task.ended),
        "expires_at": _time(task.expires),
        "progress": progress_of(task),
    }
    if queue is not None:
        head["queue"] = queue
    if task.callback_url is not None:
        head["webhook"] = _webhook(task)
    return head


def progress_of(task: Task) -> dict[str, int]:
    """How many images have ended, how many there are, and how many of them failed."""
    return {"done": task.done, "total": len(task.images), "failed": task.failed}


def entry_of(image: Image, **more: Any) -> bytes:
    """An image's entry, as JSON: what `POST /detect` would have answered, or a problem.

    An answer is JSON as it is kept, and goes in as it is.
    """
    entry = {"index": image.index, "filename": image.filename, "status": image.status, **more}
    if image.failure is not None:
        entry["error"] = failure_body(image.failure)
    if image.answer in {None, "{}"}:
        return to_json(entry)
    return b"%s,%s" % (to_json(entry)[:-1], (image.answer or "").encode()[1:])


class Representations:
    """All of a task as JSON. Pollers are many, and its results are written once a version."""

    def __init__(self, run: Run) -> None:
        """`run` calls a function with a task on a thread: what is large is not written here."""
        self._run = run
        self._writing: dict[tuple[str, int], asyncio.Task[bytes]] = {}
        self._results: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0

    async def of(self, task: Task, queue: Mapping[str, Any] | None = None) -> bytes:
        """The object; `queue` is where it is in the queue."""
        head = to_json(head_of(task, queue))[:-1]
        return b'%s,"results":%s}' % (head, await self._results_of(task))

    async def _results_of(self, task: Task) -> bytes:
        key = task.id, task.version
        if key not in self._results:
            self._keep(key, await self._written(key, task))
        self._results.move_to_end(key)
        return self._results[key]

    async def _written(self, key: tuple[str, int], task: Task) -> bytes:
        if sum(len(image.answer or "") for image in task.images) < _SMALL:
            return _entries(task)
        if key not in self._writing:
            writing = self._writing[key] = asyncio.create_task(self._run(_entries, task))
            writing.add_done_callback(lambda _: self._writing.pop(key))
        return await asyncio.shield(self._writing[key])

    def _keep(self, key: tuple[str, int], written: bytes) -> None:
        self._size += len(written) - len(self._results.get(key, b""))
        self._results[key] = written
        while self._size > _KEPT_BYTES and len(self._results) > 1:
            self._size -= len(self._results.popitem(last=False)[1])


def _entries(task: Task) -> bytes:
    return b"[%s]" % b",".join(entry_of(image) for image in task.images)


def etag_of(
    task: Task, queue: Mapping[str, Any] | None = None, annotated: str | None = None
) -> str:
    """Names this state of the task, and its form; its place in the queue moves without it."""
    place = "" if queue is None else f"-{queue['position']}"
    form = f"-{annotated}" if annotated else ""
    return f'"{task.id[:8]}-{task.version}{place}{form}"'


def version_in(tags: str | None, task_id: str) -> int | None:
    """The version that an If-None-Match, or a Last-Event-ID, knows of a task; None if it does not.

    Takes what `etag_of` makes, weak or not, and a version alone.
    """
    for tag in (tags or "").split(","):
        text = tag.strip().removeprefix("W/").strip('"').removeprefix(f"{task_id[:8]}-")
        number = text.partition("-")[0]
        if number.isascii() and number.isdigit() and len(number) < 19:  # of 64 bits
            return int(number)
    return None


def retry_after(task: Task, queue: Mapping[str, Any] | None = None) -> dict[str, str]:
    """When to ask again: a header, unless there is no need."""
    if task.status in ENDED:
        return {}
    wait = (queue or {}).get("estimated_wait_s") or 1
    return {"Retry-After": str(max(1, min(_SLOWEST_POLL, round(wait))))}


def to_json(value: object) -> bytes:
    """Compact, as /detect answers."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _time(seconds: float | None) -> str | None:
    """Unix time in ISO 8601, UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _webhook(task: Task) -> dict[str, Any]:
    return {
        "url": task.callback_url,
        "state": task.callback_state or "waiting",
        "attempts": [
            {"at": _time(one.at), "status": one.status, "error": one.error}
            for one in task.deliveries
        ],
    }
