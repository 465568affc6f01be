"""Measure this machine: the network alone, the detector in this process, the service over HTTP.

    make bench                               our engines side by side
    make bench-peers                         the same, next to a plain FastAPI + Ultralytics service

All in one run, rounds interleaved, so that the ratios mean something. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

from sightline import Detector
from sightline.bench.inprocess import detector_rate
from sightline.bench.load import run
from sightline.bench.plan import Plan, parse_target, read_pictures
from sightline.bench.service import serve_command, served
from sightline.bench.stats import Summary, summarise
from sightline.engines.base import open_engine
from sightline.models.spec import read_spec
from sightline.settings import EngineName
from sightline.vision.decode import decode
from sightline.vision.letterbox import fit

SHARED = Path(__file__).resolve().parents[2] / "shared"
ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")
ROUNDS = 3
CLIENTS = (1, 8)


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
        alone = open_engine(options.model, spec, engine=engine, device="cpu")
        inference = timed(partial(alone.infer, tensor), options.seconds)
        alone.close()
        with Detector(options.model, engine=engine) as detector:
            one = timed(partial(detector.detect, picture), options.seconds)
            eight = detector_rate(detector, read_pictures([options.image]), options.seconds)
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
        f"sightline, {engine}": serve_command(
            "--model", str(options.model.absolute()), "--engine", engine
        )
        for engine in ENGINES
    }
    if options.peer_python:
        script = Path(__file__).absolute().parent / "peers" / "plain_ultralytics.py"
        parts = (options.peer_python.absolute(), script, options.peer_model.absolute())
        commands = {"plain FastAPI + Ultralytics": [str(part) for part in parts]} | commands
    print("| service | clients | requests/s | ratio | p50 | p95 |\n|---|---|---|---|---|---|")
    for clients in CLIENTS:
        loads: dict[str, list[Summary]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                loads[name].append(load(command, options, clients))
        base = median(found.ok_per_s for found in next(iter(loads.values())))
        for name, found in loads.items():
            rate = median(one.ok_per_s for one in found)
            p50, p95 = (
                median(getattr(one.latency, percent) for one in found) for percent in ("p50", "p95")
            )
            ratio = f"{rate / base:.2f}"
            print(f"| {name} | {clients} | {rate:.1f} | {ratio} | {p50:.0f} ms | {p95:.0f} ms |")


def load(command: list[str], options: argparse.Namespace, clients: int) -> Summary:
    """A service under load; only one runs at a time."""
    with served(command) as url:
        plan = Plan(parse_target(url), read_pictures([options.image]), clients, options.seconds)
        found = summarise(run(plan)[0])
    if not found.clean:
        raise SystemExit(f"not every request was answered with 200: {found.endings}")
    return found


if __name__ == "__main__":
    main()
