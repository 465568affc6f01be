"""Closed-loop load on an HTTP service: each client sends its next picture when answered."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np


@dataclass
class Load:
    """What came back: seconds a request, and statuses."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return self.statuses.get(200, 0) / self.seconds

    def percentile(self, percent: float) -> float:
        return float(np.percentile(self.latencies, percent)) * 1000


def run(url: str, image: Path, clients: int, seconds: float) -> Load:
    """`clients` post `image` as multipart for `seconds`; connections are kept."""
    content = image.read_bytes()
    load = Load(seconds)
    lock = threading.Lock()
    end = time.perf_counter() + seconds

    def client() -> None:
        with httpx.Client(timeout=60) as session:
            while time.perf_counter() < end:
                started = time.perf_counter()
                status = session.post(url, files={"file": content}).status_code
                took = time.perf_counter() - started
                with lock:
                    load.latencies.append(took)
                    load.statuses[status] = load.statuses.get(status, 0) + 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load
