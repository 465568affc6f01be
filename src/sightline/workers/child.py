"""A child process of the supervisor: its configuration, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sightline.threads import ORPHAN
from sightline.workers.handover import from_json, to_json

if TYPE_CHECKING:
    from sightline.settings import Settings

Role = Literal["engine", "front"]

_STDIN = 0


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The configuration of a child process. It is sent over stdin, since it contains keys.

    Attributes:
        settings: of the service, with a model that is a local file.
        notice: a notice about that model, or "".
        listener: file descriptor of the inherited socket that it accepts connections on.
        index: of a front end, from 0.
        folder: a private folder for files that the processes share.
    """

    settings: Settings
    notice: str
    listener: int
    index: int
    folder: Path

    @property
    def socket(self) -> Path:
        """The path of the engine process's socket."""
        return self.folder / "engine"

    @property
    def counts(self) -> Path:
        """The path of the file with the `ConnectionCounts` of front ends."""
        return self.folder / "counts"

    def to_line(self) -> bytes:
        fields = [to_json(self.settings), self.notice, self.listener, self.index, str(self.folder)]
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> WorkerConfig:
        settings, notice, listener, index, folder = json.loads(line)
        return cls(from_json(settings), notice, listener, index, Path(folder))


def receive_config() -> WorkerConfig:
    """The configuration that the supervisor sent. From now on, this process ends when it ends."""
    config = WorkerConfig.from_line(sys.stdin.buffer.readline())
    ORPHAN.start(_end_with_supervisor, config.folder)
    return config


def _end_with_supervisor(folder: Path) -> None:
    # Not through Python's buffer, whose lock would be held when the interpreter ends.
    while os.read(_STDIN, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)  # in place of the dead supervisor
    os.kill(os.getpid(), signal.SIGTERM)
