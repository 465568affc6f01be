"""What happened in a load test, request by request, in little memory."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple


class RequestOutcome(NamedTuple):
    """How a request ended: with a `status`, or (0) with an error.

    `kind` is the error's, or the problem type of a failing answer ("" where it has none).
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
        kinds: outcomes that were seen, each once.
        sent: requests that were begun.
        unfinished: of these, those that were cut off when the test was ended by hand.
        unsent: arrivals that were due (open loop) and never sent, since every client was busy.
        sending: seconds in which requests were begun.
        bytes_sent: of requests, heads included, as far as they were handed to the network.
        bytes_received: of answers, heads included.
        waits: times that a client heeded Retry-After.
        waited: seconds that clients spent doing so, all of them together.
        ok: answers with 200.
        cpu: seconds of CPU time that the load client itself took.
        gave_up: why the test ended before its time; "" if it did not.
        stopped: it was ended by hand.
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
        """A request ended."""
        self.ok += outcome.status == 200
        self.ended.append(ended)
        self.took.append(took)
        self.outcomes.append(self.kinds.setdefault(outcome, len(self.kinds)))
