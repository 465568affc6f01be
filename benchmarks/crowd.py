"""What others feel of a thousand clients that stall: latency of one client, with and without them.

    .venv/bin/python benchmarks/crowd.py

One service, one client that posts a picture again and again; rounds with and without the crowd take
turns. Half of the crowd stops in the head of a request, half in the body.
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np

SHARED = Path(__file__).resolve().parents[2] / "shared"
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
HEAD = b"POST /detect HTTP/1.1\r\nHost: localhost\r\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "yolov8n.onnx")
    parser.add_argument("--image", type=Path, default=SHARED / "photos" / "street.jpg")
    parser.add_argument("--stalled", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    picture = options.image.read_bytes()
    found: dict[int, list[float]] = {0: [], options.stalled: []}
    with service(options.model) as url, httpx.Client(base_url=url, timeout=60) as client:
        client.post("/detect", content=picture)
        for _ in range(options.rounds):
            for stalled, times in found.items():
                with crowd(url, stalled, picture):
                    time.sleep(1)  # what it has sent is read by then: stalling is what is measured
                    times.extend(latencies(client, picture, options.seconds))
    print(
        "| stalled clients | requests | p50 | p95 | p99 | p50, ratio |\n|---|---|---|---|---|---|"
    )
    alone = float(np.median(found[0]))
    for stalled, times in found.items():
        p50, p95, p99 = (1000 * float(np.percentile(times, q)) for q in (50, 95, 99))
        ratio = p50 / alone / 1000
        row = f"{stalled} | {len(times)} | {p50:.1f} ms | {p95:.1f} ms | {p99:.1f} ms | {ratio:.2f}"
        print(f"| {row} |")


@contextmanager
def service(model: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "sightline", "serve", "--port", "0", "--model", str(model)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            said = iter(process.stdout or ())
            found = next(filter(None, map(_ADDRESS.search, said)))
            with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
                client.get(f"{found[0]}/health/live")
            yield found[0]
        finally:
            process.terminate()


@contextmanager
def crowd(url: str, size: int, picture: bytes) -> Iterator[None]:
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with ExitStack() as stack:
        for number in range(size):
            connection = stack.enter_context(socket.create_connection(address))
            body = b"Content-Length: 9000000\r\n\r\n" + picture[:100_000]
            connection.sendall(HEAD + body if number % 2 else HEAD)
        yield


def latencies(client: httpx.Client, picture: bytes, seconds: float) -> list[float]:
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        client.post("/detect", content=picture).raise_for_status()
        times.append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()
