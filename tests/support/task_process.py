"""Other processes on the same tasks: `python -m support.task_process open|submit|toil PLACE BLOBS`.

They begin with a line from standard input, so that many begin at once, and tell what is done.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, cast

from sightline.storage.blobs import FolderBlobs
from sightline.storage.database import Database
from support.processes import environment
from support.task_fixture import Clock, TaskFixture


def start(mode: str, place: Path | str, blobs: Path) -> subprocess.Popen[str]:
    """A process that has its modules, and waits for `go`."""
    command = [sys.executable, "-m", "support.task_process", mode, str(place), str(blobs)]
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=environment(),
    )
    assert output(child).readline() == "ready\n"
    return child


def go(child: subprocess.Popen[str]) -> None:
    entry = cast("IO[str]", child.stdin)
    entry.write("\n")
    entry.flush()


def output(child: subprocess.Popen[str]) -> IO[str]:
    return cast("IO[str]", child.stdout)


def main(mode: str, place: str, blobs: str) -> None:
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    database = Database(place if "://" in place else Path(place))
    kept = TaskFixture(database, FolderBlobs(Path(blobs)), Clock())
    if mode == "submit":
        task = kept.submit(3, idempotency_key="k", fingerprint="a")
        print(task.id, flush=True)  # noqa: T201
    while mode == "toil":
        print(kept.submit(3).id, flush=True)  # noqa: T201
        kept.work(2)
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
