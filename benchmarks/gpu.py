"""Try a GPU: the engines' contract, images a second by batch and precision, the whole service.

    python benchmarks/gpu.py                 CUDA and TensorRT
    python benchmarks/gpu.py --device cpu    the same on the CPU, to try this script

What is not there is a row that says so, never a figure of another device. See README.md, "GPU".
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple
from unittest.mock import patch

import httpx
import numpy as np
import onnx
import onnxruntime
import pynvml

from clients import LoadFailed, client, load
from pictures import HD, PHOTO, SHARED, resized
from sightline.bench.about import About
from sightline.bench.service import serve_command, served
from sightline.engines import onnxruntime as engine_module
from sightline.engines.base import Engine
from sightline.engines.cache import EngineCache
from sightline.engines.choose import open_engine
from sightline.errors import SightlineError
from sightline.models.digest import digest
from sightline.models.spec import read_spec

ROOT = Path(__file__).resolve().parents[1]
SIZES = ((640, 640), (640, 384))  # width, height
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CLIENTS = (1, 8, 32)
_LEAST_RUNS = 3


class Network(NamedTuple):
    """A model file, and the precision that it is to run in."""

    path: Path
    precision: str


def main() -> None:
    options = parse()
    tell_about(options)
    for device in options.device:
        contract(device, options.model)
    with tempfile.TemporaryDirectory() as folder:
        networks = (Network(options.model, "fp32"), Network(half(options.model, folder), "fp16"))
        for measure, columns in (
            (throughput, "input | batch | a call | images/s"),
            (service, "clients | requests/s | p50 | p95"),
        ):
            print(f"| device | precision | {columns} |\n|---|---|---|---|---|---|")
            for device in options.device:
                for network in networks:
                    for row in measure(device, network, Path(folder), options):
                        print(f"| {device} | {network.precision} | {row} |", flush=True)
            print()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", action="append", help="cuda, tensorrt, cuda:1, cpu; repeatable")
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "yolov8n.onnx")
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--batch", type=int, action="append", help="1, 2, 4, … 64 by default")
    parser.add_argument("--seconds", type=float, default=3, help="of each figure")
    options = parser.parse_args()
    options.device = options.device or ["cuda", "tensorrt"]
    options.batch = options.batch or list(BATCHES)
    return options


def tell_about(options: argparse.Namespace) -> None:
    about = About(shlex.join(["benchmarks/gpu.py", *sys.argv[1:]]))
    machine = about.machine
    print(f"`{about.command}` on {about.date}.")
    print(f"{gpus()}; {machine['processor']}, {machine['cores']} cores; ", end="")
    built = f"for CUDA {onnxruntime.cuda_version}" if onnxruntime.cuda_version else "without CUDA"
    print(f"Python {about.versions['python']}, onnxruntime {onnxruntime.__version__} ", end="")
    print(f"{built} ({', '.join(onnxruntime.get_available_providers())}); load: {client()}.")
    print(f"{options.model.name}; copies to and from the GPU are part of a call.\n")


def gpus() -> str:
    """The NVIDIA GPUs and their driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"no NVIDIA GPU ({error})"
    handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
    names = ", ".join(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
    return f"{names}, driver {pynvml.nvmlSystemGetDriverVersion()}"


def contract(device: str, model: Path) -> None:
    """Run the suite that every engine has to pass, on `device` too, if it can be used at all."""
    told = f"The engine contract on {device}:"
    try:
        with tempfile.TemporaryDirectory() as folder:
            opened(device, model, Path(folder)).close()
    except SightlineError as error:
        print(f"{told} not run: {error}\n")
        return
    suite = "-q --no-header --tb=line -p no:cacheprovider tests/contract/test_engines.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *suite.split()],
        cwd=ROOT,
        env=os.environ | {"CONTRACT_DEVICES": device},
        capture_output=True,
        text=True,
        check=False,
    )
    said = (done.stdout + done.stderr).strip().splitlines()
    print(f"{told} {'passed' if done.returncode == 0 else 'FAILED'}")
    print("```", *said[-20:], "```", "", sep="\n", flush=True)


def opened(device: str, model: Path, folder: Path) -> Engine:
    """The engine for NVIDIA GPUs, on `device` and nowhere else.

    Raises:
        SightlineError: it is not there, or cannot be used.
    """
    cache = EngineCache(folder, digest(model))
    return open_engine(model, read_spec(model), engine="onnxruntime", device=device, cache=cache)


def half(model: Path, folder: str) -> Path:
    """A copy of `model` with FP16 weights and arithmetic, by ONNX Runtime's own converter (MIT)."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    path = Path(folder, f"{model.stem}-fp16.onnx")
    onnx.save(convert_float_to_float16(onnx.load(model)), path)
    return path


def throughput(
    device: str, network: Network, folder: Path, options: argparse.Namespace
) -> Iterator[str]:
    """Rows of one network on one device; one that says why where it cannot be run."""
    spec = read_spec(network.path)
    most = max(options.batch)
    try:
        # The engine's own limit for GPUs is widened: where the best batch lies is the question.
        with patch.object(engine_module, "_GPU_BATCH", most):
            engine = opened(device, network.path, folder)
    except SightlineError as error:
        yield f"not run: {error} | | |"
        return
    sizes = SIZES if spec.dynamic else (spec.input_size[::-1],)
    batches = [spec.batch] if spec.batch else options.batch
    try:
        if engine.precision != network.precision:
            yield f"not run: on {device} this model runs in {engine.precision} | | |"
            return
        for width, height in sizes:
            for batch in batches:
                cells = timed(engine, (batch, height, width), options.seconds)
                yield f"{width}×{height} | {batch} | {cells}"
    finally:
        engine.close()


def timed(engine: Engine, shape: tuple[int, int, int], seconds: float) -> str:
    """Cells: ms of the median call, and images a second of that."""
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    times: list[float] = []
    try:
        engine.infer(images)  # memory is claimed and kernels are chosen here
        end = time.perf_counter() + seconds
        while len(times) < _LEAST_RUNS or time.perf_counter() < end:
            started = time.perf_counter()
            engine.infer(images)
            times.append(time.perf_counter() - started)
    except SightlineError as error:
        return f"failed: {error} | "
    call = median(times)
    return f"{1000 * call:.2f} ms | {shape[0] / call:.1f}"


def service(
    device: str, network: Network, folder: Path, options: argparse.Namespace
) -> Iterator[str]:
    """Rows of the whole service over HTTP; one that says why where it cannot be run."""
    picture = resized(options.photo, HD)
    command = serve_command("--model", str(network.path.absolute()), "--device", device)
    command += ["--engine", "onnxruntime", "--data-dir", str(folder)]
    try:
        with served(command) as url:
            about = httpx.get(f"{url}/health").raise_for_status().json()
            if about["precision"] != network.precision:
                yield f"not run: on {device} this model runs in {about['precision']} | | |"
                return
            for clients in CLIENTS:
                try:
                    found = load(url, picture, clients, options.seconds)
                except LoadFailed as error:
                    yield f"{clients} | failed: {error} | |"
                else:
                    yield f"{clients} | {found.per_s:.1f} | {found.p50:.1f} ms | {found.p95:.1f} ms"
    except SightlineError as error:
        yield f"not run: {str(error).splitlines()[-1]} | | |"


if __name__ == "__main__":
    main()
