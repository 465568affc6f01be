"""A process that the supervisor starts: what it is told, and how it learns to end."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from sightline.threads import ORPHAN
from sightline.workers.handover import from_json, to_json

if TYPE_CHECKING:
    from types import FrameType

    from sightline.settings import Settings

Role = Literal["engine", "front"]

_STDIN = 0


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a process is told. It comes over its stdin, since there are keys in it.

    Attributes:
        settings: of the service, with a model that is a file here.
        notice: what people should know of that model.
        listener: number of the inherited socket that it accepts connections on.
        index: which front end it is, from 0.
        folder: of the service's own, for what its processes share.
    """

    settings: Settings
    notice: str
    listener: int
    index: int
    folder: Path

    @property
    def socket(self) -> Path:
        """Where the engine process is reached."""
        return self.folder / "engine"

    @property
    def counts(self) -> Path:
        """Where front ends tell each other how many connections they have."""
        return self.folder / "tally"

    def to_line(self) -> bytes:
        told = [to_json(self.settings), self.notice, self.listener, self.index, str(self.folder)]
        return json.dumps(told).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> WorkerConfig:
        settings, notice, listener, index, folder = json.loads(line)
        return cls(from_json(settings), notice, listener, index, Path(folder))


def receive_config() -> WorkerConfig:
    """What the supervisor says. When it is gone, this process gets a SIGTERM from itself."""
    config = WorkerConfig.from_line(sys.stdin.buffer.readline())
    ORPHAN.start(_outlive_nobody, config.folder)
    return config


def abandon(_signal: int, _frame: FrameType | None) -> None:
    """For SIGTERM, while a model is loaded: its thread cannot be told to stop, and need not be."""
    logging.shutdown()  # the last line is written
    os._exit(0)


def exit_cleanly(_signal: int, _frame: FrameType | None) -> NoReturn:
    """For SIGTERM, where nothing is under way: what has ended as it was asked to did well."""
    raise SystemExit(0)


def _outlive_nobody(folder: Path) -> None:
    # Past Python's buffer, whose lock would be held when the interpreter ends.
    while os.read(_STDIN, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)  # the supervisor could not
    os.kill(os.getpid(), signal.SIGTERM)
