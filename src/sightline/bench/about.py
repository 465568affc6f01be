"""Metadata of a measurement: machine, versions, command, date."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sightline import __version__
from sightline.machine import cores, memory_limit

_PACKAGES = ("openvino", "onnxruntime", "opencv-python-headless", "numpy", "uvicorn", "uvloop")
_HIDDEN = "***"


def _machine() -> dict[str, str]:
    return {
        "processor": _processor(),
        "cores": str(cores()),
        "memory": f"{memory_limit() / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {"sightline": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # uvloop is not for every system
            continue
    return found


@dataclass(frozen=True, slots=True)
class About:
    """Metadata of a measurement.

    Attributes:
        command: the command line, without the key.
        date: local time with its offset, to the second.
        machine: the client's, which is the service's too over loopback.
        versions: of packages installed here.
        service: the answer of the service's `/health`; empty without one.
    """

    command: str
    date: str = field(
        default_factory=lambda: datetime.now().astimezone().isoformat(" ", timespec="seconds")
    )
    machine: dict[str, str] = field(default_factory=_machine)
    versions: dict[str, str] = field(default_factory=_versions)
    service: dict[str, Any] = field(default_factory=dict)


def shown_command(arguments: list[str]) -> str:
    """The quoted command line of `arguments` (without the program), the key hidden."""
    import shlex

    shown = ["sightline"]
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if before == "--key":
            shown.append(_HIDDEN)
        elif argument.startswith("--key="):
            shown.append(f"--key={_HIDDEN}")
        else:
            shown.append(shlex.quote(argument))
    return " ".join(shown)
