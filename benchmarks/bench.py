"""Measure this machine: the network alone, the detector in this process, the service over HTTP.

    make bench                               our engines side by side
    make bench-peers                         the same, next to a plain FastAPI + Ultralytics service

All in one run, rounds interleaved, so that the ratios mean something. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TextIO, cast

import httpx

from load import Load, run
from sightline import Detector
from sightline.engines.base import open_engine
from sightline.models.spec import read_spec
from sightline.settings import EngineName
from sightline.vision.decode import decode
from sightline.vision.letterbox import fit

SHARED = Path(__file__).resolve().parents[2] / "shared"
ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")
ROUNDS = 3
CLIENTS = (1, 8)
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


def main() -> None:
    options = parse()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; " + versions())
    print(f"{options.model.name} on {options.image.name}, {options.seconds:g} s a figure\n")
    network(options)
    services(options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "yolov8n.onnx")
    parser.add_argument("--image", type=Path, default=SHARED / "photos" / "street.jpg")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--peer-python", type=Path, help="interpreter that has Ultralytics")
    parser.add_argument("--peer-model", type=Path, default=SHARED / "models" / "yolov8n.pt")
    return parser.parse_args()


def versions() -> str:
    names = ("openvino", "onnxruntime", "opencv-python-headless", "uvicorn")
    return ", ".join(f"{name} {version(name)}" for name in names)


def network(options: argparse.Namespace) -> None:
    """Milliseconds of the network alone, and images a second of the detector in this process."""
    picture = options.image.read_bytes()
    print("| engine | network alone | one at a time | 8 threads |\n|---|---|---|---|")
    for engine in ENGINES:
        spec = read_spec(options.model)
        tensor = fit(decode(picture, 10**9), spec)[0][None]
        alone = open_engine(options.model, spec, engine=engine, device="cpu", cache_dir=Path())
        inference = timed(partial(alone.infer, tensor), options.seconds)
        alone.close()
        with Detector(options.model, engine=engine) as detector:
            one = timed(partial(detector.detect, picture), options.seconds)
            with ThreadPoolExecutor(8) as threads:
                jobs = max(8, int(options.seconds / one))
                started = time.perf_counter()
                list(threads.map(detector.detect, [picture] * jobs))
                eight = jobs / (time.perf_counter() - started)
        size = f"{tensor.shape[2]}×{tensor.shape[1]}"
        print(
            f"| {engine} | {inference * 1000:.1f} ms ({size}) | {1 / one:.1f}/s | {eight:.1f}/s |"
        )
    print()


def timed(work: Callable[[], object], seconds: float) -> float:
    """Median seconds of `work`."""
    work()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def services(options: argparse.Namespace) -> None:
    """Requests a second of each service, one at a time and with 8 clients, rounds interleaved."""
    commands = {
        f"sightline, {engine}": [
            sys.executable, "-m", "sightline", "serve", "--port", "0",
            "--model", str(options.model), "--engine", engine,
        ]
        for engine in ENGINES
    }  # fmt: skip
    if options.peer_python:
        script = Path(__file__).parent / "peers" / "plain_ultralytics.py"
        peer = [str(options.peer_python), str(script), str(options.peer_model)]
        commands = {"plain FastAPI + Ultralytics": peer} | commands
    print("| service | clients | requests/s | ratio | p50 | p95 |\n|---|---|---|---|---|---|")
    for clients in CLIENTS:
        loads: dict[str, list[Load]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                with served(command) as url:
                    run(url, options.image, clients, 1)
                    loads[name].append(run(url, options.image, clients, options.seconds))
        base = median(load.per_second for load in next(iter(loads.values())))
        for name, found in loads.items():
            rate = median(load.per_second for load in found)
            p50, p95 = (median(load.percentile(p) for load in found) for p in (50, 95))
            ratio = f"{rate / base:.2f}"
            print(f"| {name} | {clients} | {rate:.1f} | {ratio} | {p50:.0f} ms | {p95:.0f} ms |")


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """A service's /detect, ready; only one runs at a time."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
        )
        stack.callback(process.terminate)
        output = cast("TextIO", process.stdout)
        said = ""
        while not ((found := _ADDRESS.search(said)) and "startup complete" in said):
            line = output.readline()
            if not line:
                sys.exit(f"it ended at start: {' '.join(command)}\n{said}")
            said += line
        # What it says from here on is dropped, so that a full pipe cannot stop it.
        drain = stack.enter_context(ThreadPoolExecutor(1))
        drain.submit(output.read)
        url = found[0]
        httpx.get(f"{url}/docs").raise_for_status()
        yield f"{url}/detect"
        process.terminate()


if __name__ == "__main__":
    main()
