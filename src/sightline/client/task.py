"""One task of the service, as far as it is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sightline.client.answers import ENDED, Result, Status, result_of
from sightline.client.errors import problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sightline.client.errors import ExpiredTask


class Task:
    """Up to 100 of the pictures that were submitted."""

    def __init__(self, task_id: str, offset: int, sources: Sequence[str]) -> None:
        """For a task before whose pictures `offset` others were submitted."""
        self.id = task_id
        self.path = f"/result/{task_id}"
        self.tag = ""
        self.status: Status = "queued"
        self.total = len(sources)
        self.failed = 0
        self.queue: Mapping[str, Any] = {}
        self.results: dict[int, Result] = {}
        """By index in the task, in the order in which they came."""
        self.looked = time.monotonic()
        """When it was made, or asked for last."""
        self._offset = offset
        self._sources = sources

    def absorb(self, state: Mapping[str, Any], tag: str) -> None:
        """Take over what the service says of it."""
        self.status, self.tag = state["status"], tag
        self.total, self.failed = state["progress"]["total"], state["progress"]["failed"]
        self.queue = state.get("queue") or {}
        for body in state["results"]:
            index = body["index"]
            if body["status"] in ENDED and index not in self.results:
                source = self._sources[index] if self._sources else None
                self.results[index] = result_of(body, self._offset, source)

    def forget_failures(self) -> None:
        self.results = {at: one for at, one in self.results.items() if one.status == "completed"}

    def expire(self, why: ExpiredTask) -> None:
        """Nobody will learn any more what is not known."""
        self.status = "error"
        for index in range(self.total):
            name = self._sources[index] if self._sources else str(index)
            error = problem_of(why.problem)
            self.results.setdefault(
                index, Result(self._offset + index, name, name, "error", None, error)
            )
        self.failed = sum(result.error is not None for result in self.results.values())
