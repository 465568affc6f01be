"""The services that are measured: started, and stopped with all that they started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sightline.bench.service import served
from sightline.errors import ConfigError
from support.eventually import eventually

# It tells the pid of a child that outlives it and keeps its output open, as some servers' do.
LEAVES_A_CHILD = """
import socket, subprocess, sys, pathlib
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
listener = socket.create_server(("127.0.0.1", 0))
print("startup complete on http://127.0.0.1:%d" % listener.getsockname()[1])
listener.accept()[0].recv(1)
child.wait()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups of this kind")
def test_nothing_that_a_service_started_outlives_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with served([sys.executable, "-c", LEAVES_A_CHILD, str(note)]) as url:
        child = int(note.read_text())
        assert url.startswith("http://127.0.0.1:")
        assert is_running(child)
    eventually(lambda: not is_running(child), "it is gone")


def test_what_it_said_is_told_when_it_ends_at_start() -> None:
    code = "import sys; sys.exit('no model here')"
    with pytest.raises(ConfigError, match="no model here"), served([sys.executable, "-c", code]):
        pytest.fail("it did not start")


def is_running(pid: int) -> bool:
    """False for one that is dead and merely not reaped yet."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return bool(state) and not state.startswith("Z")
