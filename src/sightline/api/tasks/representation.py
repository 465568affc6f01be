"""The JSON of a task, and its headers: ETag, Retry-After."""

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
_CACHE_BYTES = 8 * 2**20
_SMALL = 32 * 1024  # bytes of answers below which a thread is not worth it


def accepted(task: Task) -> dict[str, Any]:
    """The answer to a submission, the first one and each repetition."""
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
    """Everything of a task except its results."""
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
    """The number of images that have ended, of all, and of those that failed."""
    return {"done": task.done, "total": len(task.images), "failed": task.failed}


def entry_of(image: Image, **more: Any) -> bytes:
    """The JSON entry of an image: the answer that `POST /detect` gives, or a problem.

    A stored answer is JSON already, and is inserted unchanged.
    """
    entry = {"index": image.index, "filename": image.filename, "status": image.status, **more}
    if image.failure is not None:
        entry["error"] = failure_body(image.failure)
    if image.answer in {None, "{}"}:
        return to_json(entry)
    return b"%s,%s" % (to_json(entry)[:-1], (image.answer or "").encode()[1:])


class Representations:
    """The whole JSON of tasks. The results of each version are written once, and cached."""

    def __init__(self, run: Run) -> None:
        """`run` calls a function with a task on a thread, to write large results."""
        self._run = run
        self._writing: dict[tuple[str, int], asyncio.Task[bytes]] = {}
        self._results: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0

    async def of(self, task: Task, queue: Mapping[str, Any] | None = None) -> bytes:
        """The JSON object of `task`; `queue` is its position in the queue."""
        head = to_json(head_of(task, queue))[:-1]
        return b'%s,"results":%s}' % (head, await self._results_of(task))

    async def _results_of(self, task: Task) -> bytes:
        key = task.id, task.version
        if key not in self._results:
            self._store(key, await self._written(key, task))
        self._results.move_to_end(key)
        return self._results[key]

    async def _written(self, key: tuple[str, int], task: Task) -> bytes:
        if sum(len(image.answer or "") for image in task.images) < _SMALL:
            return _entries(task)
        if key not in self._writing:
            writing = self._writing[key] = asyncio.create_task(self._run(_entries, task))
            writing.add_done_callback(lambda _: self._writing.pop(key))
        return await asyncio.shield(self._writing[key])

    def _store(self, key: tuple[str, int], written: bytes) -> None:
        self._size += len(written) - len(self._results.get(key, b""))
        self._results[key] = written
        while self._size > _CACHE_BYTES and len(self._results) > 1:
            self._size -= len(self._results.popitem(last=False)[1])


def _entries(task: Task) -> bytes:
    return b"[%s]" % b",".join(entry_of(image) for image in task.images)


def etag_of(
    task: Task, queue: Mapping[str, Any] | None = None, annotated: str | None = None
) -> str:
    """The ETag of a state of the task: its version, position in the queue, and form."""
    position = "" if queue is None else f"-{queue['position']}"
    form = f"-{annotated}" if annotated else ""
    return f'"{task.id[:8]}-{task.version}{position}{form}"'


def version_in(tags: str | None, task_id: str) -> int | None:
    """The version of a task in an If-None-Match or a Last-Event-ID; None if there is none.

    Reads the ETags of `etag_of`, weak or strong, and a version alone.
    """
    for tag in (tags or "").split(","):
        text = tag.strip().removeprefix("W/").strip('"').removeprefix(f"{task_id[:8]}-")
        number = text.partition("-")[0]
        if number.isascii() and number.isdigit() and len(number) < 19:  # of 64 bits
            return int(number)
    return None


def retry_after(task: Task, queue: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The header Retry-After of a task; empty once it has ended."""
    if task.status in ENDED:
        return {}
    wait = (queue or {}).get("estimated_wait_s") or 1
    return {"Retry-After": str(max(1, min(_SLOWEST_POLL, round(wait))))}


def to_json(value: object) -> bytes:
    """`value` as compact JSON, as /detect answers."""
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
