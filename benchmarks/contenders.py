"""What is measured side by side: services, and our own detector without HTTP."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from clients import Load, load
from memory import Memory, of_children
from sightline import Detector
from sightline.bench.inprocess import detector_rate
from sightline.bench.plan import BenchImage
from sightline.bench.service import serve_command, served

if TYPE_CHECKING:
    from argparse import Namespace

CLIENTS = (1, 8)
Case: TypeAlias = tuple[str, int]
"""A picture's name, and how many ask at once."""

_PEERS = {
    "plain FastAPI + Ultralytics": "plain_ultralytics.py",
    "LitServe + Ultralytics": "litserve_ultralytics.py",
}
_PEER_PACKAGES = ("ultralytics", "torch", "litserve", "fastapi", "uvicorn")
_ASK = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"


class Contender(Protocol):
    """One row of the table.

    Attributes:
        limit: name of the row that does the same without HTTP; "" if there is none.
    """

    name: str
    limit: str

    def measure(
        self, pictures: list[BenchImage], seconds: float
    ) -> tuple[dict[Case, Load], Memory | None]:
        """Start it, load it in every case, end it; with what it held in memory at the end."""


@dataclass
class Service:
    """A service over HTTP."""

    name: str
    command: list[str]
    limit: str = ""

    def measure(
        self, pictures: list[BenchImage], seconds: float
    ) -> tuple[dict[Case, Load], Memory | None]:
        with served(self.command) as url:
            found = {
                (picture.name, clients): load(url, picture, clients, seconds)
                for picture in pictures
                for clients in CLIENTS
            }
            return found, of_children()


@dataclass
class InProcess:
    """The detector in this process, asked by so many threads: what HTTP cannot exceed."""

    name: str
    model: Path
    limit: str = ""

    def measure(
        self, pictures: list[BenchImage], seconds: float
    ) -> tuple[dict[Case, Load], Memory | None]:
        with Detector(self.model, engine="openvino") as detector:
            found = {
                (picture.name, threads): Load(
                    detector_rate(detector, (picture,), seconds, threads), nan, nan
                )
                for picture in pictures
                for threads in CLIENTS
            }
        return found, None


def contenders(options: Namespace) -> Iterator[Contender]:
    """All that `options` name; the first is what the others are compared with."""
    if options.peer_python:
        for name, script in _PEERS.items():
            path = Path(__file__).absolute().parent / "peers" / script
            parts = (options.peer_python.absolute(), path, options.peer_model.absolute())
            yield Service(name, [str(part) for part in parts])
    fp32, int8 = "in process, FP32", "in process, INT8"
    yield _ours("Sightline, OpenVINO", options.model, "openvino", fp32)
    yield _ours("Sightline, ONNX Runtime", options.model, "onnxruntime", "")
    if options.int8:
        yield _ours("Sightline, OpenVINO INT8", options.int8, "openvino", int8)
    yield InProcess(fp32, options.model)
    if options.int8:
        yield InProcess(int8, options.int8)


def peer_versions(options: Namespace) -> str:
    """Of what the peers stand on; "" without peers."""
    if not options.peer_python:
        return ""
    command = [str(options.peer_python), "-c", _ASK, *_PEER_PACKAGES]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return ", ".join(
        f"{name} {version}" for name, version in zip(_PEER_PACKAGES, told, strict=True)
    )


def _ours(name: str, model: Path, engine: str, limit: str) -> Service:
    command = serve_command("--model", str(model.absolute()), "--engine", engine)
    return Service(name, command, limit)
