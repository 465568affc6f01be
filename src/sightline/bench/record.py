"""The record of a load test: outcome and times of each request, stored compactly."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple


class RequestOutcome(NamedTuple):
    """The outcome of a request: a `status`, or 0 for an error.

    `kind` is that of the error, or the problem type of a failed response ("" without one).
    """

    status: int
    kind: str = ""


@dataclass(slots=True)
class RequestRecord:
    """Requests of one phase, in the order in which they ended; times in seconds from its start.

    sent == len(ended) + unfinished, always.

    Attributes:
        ended: when each request ended.
        took: how long each took, from when it was due.
        outcomes: the index in `kinds` of each one's outcome.
        kinds: the distinct outcomes.
        sent: requests that were started.
        unfinished: of these, those that were cut off when the test was stopped.
        unsent: requests that were due (open loop) and never sent, since every client was busy.
        sending: seconds in which requests were started.
        bytes_sent: of requests, heads included, as far as they were handed to the network.
        bytes_received: of responses, heads included.
        waits: number of times that a client heeded Retry-After.
        waited: seconds that all clients together spent doing so.
        ok: responses with 200.
        cpu: CPU seconds of the load generator itself.
        gave_up: why the test ended early; "" if it did not.
        stopped: whether it was stopped by a signal.
    """

    ended: array[float] = field(default_factory=lambda: array("d"))
    took: array[float] = field(default_factory=lambda: array("d"))
    outcomes: array[int] = field(default_factory=lambda: array("H"))
    kinds: dict[RequestOutcome, int] = field(default_factory=dict)
    sent: int = 0
    ok: int = 0
    unfinished: int = 0
    unsent: int = 0
    sending: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    waits: int = 0
    waited: float = 0.0
    cpu: float = 0.0
    gave_up: str = ""
    stopped: bool = False

    def add(self, ended: float, took: float, outcome: RequestOutcome) -> None:
        """Add a request that has ended."""
        self.ok += outcome.status == 200
        self.ended.append(ended)
        self.took.append(took)
        self.outcomes.append(self.kinds.setdefault(outcome, len(self.kinds)))
