"""State of one task on the service, as last fetched."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sightline.client.answers import ENDED, Result, Status, result_of
from sightline.client.errors import problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sightline.client.errors import ExpiredTask


class Task:
    """A task of up to 100 pictures of a submission."""

    def __init__(self, task_id: str, offset: int, sources: Sequence[str]) -> None:
        """`offset`: number of pictures of the submission before this task's."""
        self.id = task_id
        self.path = f"/result/{task_id}"
        self.tag = ""
        self.status: Status = "queued"
        self.total = len(sources)
        self.failed = 0
        self.queue: Mapping[str, Any] = {}
        self.results: dict[int, Result] = {}
        """By index in the task, in order of arrival."""
        self.polled = time.monotonic()
        """Time of the last poll, or of its creation, on `time.monotonic`."""
        self._offset = offset
        self._sources = sources

    def update(self, state: Mapping[str, Any], tag: str) -> None:
        """Take over the task's representation and its ETag."""
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
        """Mark the pictures without a result as failed: the service has deleted their results."""
        self.status = "error"
        for index in range(self.total):
            name = self._sources[index] if self._sources else str(index)
            error = problem_of(why.problem)
            self.results.setdefault(
                index, Result(self._offset + index, name, name, "error", None, error)
            )
        self.failed = sum(result.error is not None for result in self.results.values())
