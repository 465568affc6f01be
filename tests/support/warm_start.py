"""Processes that need not import `sightline` first: they are forked from one that has.

To import it takes a second and a half of CPU time, a hundred times a run. The process that is
forked from is `python -m support.warm_start SOCKET`; it is started when it is wanted first.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock, Thread
from typing import IO, Any

from support.processes import environment

POSSIBLE = sys.platform != "win32" and "COVERAGE_PROCESS_CONFIG" not in os.environ
"""Not where there is no fork; and coverage is measured from the start of a process."""

# Not onnxruntime: it begins threads at once, which a fork does not have and its end waits for.
_MODULES = (
    *("sightline.cli", "sightline.cli.serve", "sightline.api.app", "sightline.api.server.config"),
    *("sightline.wiring.runtime", "sightline.client", "sightline.engines.openvino"),
    *("uvicorn", "uvloop", "onnx"),
)
_MOST = 2**20  # bytes of a request


class WarmProcess:
    """As much of `subprocess.Popen` as is wanted here."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: tuple[IO[Any], IO[Any]] | None = None,
    ) -> None:
        """Run what `python` would with these arguments, in our working directory.

        Args:
            arguments: `-m module …`, `-c code …` or `script.py …`.
            environment: all of its.
            output: where its stdout and stderr go; else `stdout` is a pipe of both.
        """
        asked = {"argv": [*arguments], "cwd": str(Path.cwd()), "env": {**environment}}
        self._status, told = os.pipe()
        self.stdout: IO[str] | None = None
        if output is None:
            reading, writing = os.pipe()
            self.stdout = open(reading, encoding="utf-8")  # noqa: PTH123, SIM115
            fds = [writing, os.dup(writing)]
        else:
            fds = [os.dup(file.fileno()) for file in output]
        _mother().ask(json.dumps(asked).encode(), [told, *fds])
        for given in (told, *fds):
            os.close(given)
        self._lock = Lock()
        self._said = b""
        self.returncode: int | None = None
        while b"\n" not in self._said:
            self._said += self._more()
        self.pid = int(self._said)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """All that it still says, once it has ended."""
        said: list[str] = []
        stdout = self.stdout
        if stdout is not None and not stdout.closed:
            reader = Thread(target=lambda: said.append(stdout.read()), daemon=True)
            reader.start()
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            stdout.close()
        self.wait(timeout)
        return "".join(said), None

    def _more(self) -> bytes:
        part = os.read(self._status, 100)
        assert part, "the process that forks others has ended"
        return part

    def poll(self) -> int | None:
        return self._ended_within(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def _ended_within(self, seconds: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._status], [], [], seconds)[0]:
                while self._said.count(b"\n") < 2:
                    self._said += self._more()
                os.close(self._status)
                self.returncode = int(self._said.split()[1])
            return self.returncode

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it has ended, and that is not told yet
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Started = subprocess.Popen[str] | WarmProcess


def start(
    arguments: Sequence[str], environment: Mapping[str, str], *, cold: bool = False
) -> Started:
    """What `python` does with these arguments; its stdout is a pipe of all that it says.

    Args:
        arguments: as those of `WarmProcess`.
        environment: all of its.
        cold: it is to start from nothing.
    """
    if not cold and POSSIBLE:
        return WarmProcess(arguments, environment)
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


@dataclass
class _Mother:
    """The process that forks."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    lock: Lock = field(default_factory=Lock)

    def ask(self, request: bytes, fds: list[int]) -> None:
        with self.lock:
            socket.send_fds(self.line, [request], fds)

    def end(self) -> None:
        self.line.close()
        self.process.wait(60)


@cache
def _mother() -> _Mother:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        started = _Mother(
            subprocess.Popen(
                [sys.executable, "-m", "support.warm_start", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=environment() | {"PYTHONUNBUFFERED": "1"},
                pass_fds=[theirs.fileno()],
            ),
            ours,
        )
    atexit.register(started.end)
    return started


def main(line: socket.socket) -> None:
    for module in _MODULES:
        import_module(module)
    gc.freeze()  # what is imported stays: no process has to look through it, or copy it
    if fork_when_asked(line):
        run_as_python_does(sys.argv)


def fork_when_asked(line: socket.socket) -> bool:
    """True in each new process, which has its arguments; False in the first one, at its end."""
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    alive: dict[int, int] = {}
    watched: list[Any] = [line, woken]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if woken in ready:
            os.read(woken, 1000)
            tell_ends(alive)
        if line in ready:
            request, fds, _, _ = socket.recv_fds(line, _MOST, 3)
            if not request:
                return False
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for left in (woken, wakes, fds[0], *alive.values()):
                    os.close(left)
                line.close()
                become(json.loads(request), fds[1:])
                return True
            alive[pid] = fds[0]
            os.write(fds[0], b"%d\n" % pid)
            for given in fds[1:]:
                os.close(given)


def tell_ends(alive: dict[int, int]) -> None:
    for pid, status in list(alive.items()):
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            os.write(status, b"%d\n" % os.waitstatus_to_exitcode(code))
            os.close(alive.pop(pid))


def become(asked: dict[str, Any], outputs: list[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
        os.close(output)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = asked["argv"]


def run_as_python_does(arguments: list[str]) -> None:
    match arguments:
        case ["-m", module, *rest]:
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv = ["-c", *rest]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
        case [script, *_]:
            sys.path[0] = str(Path(script).parent)
            runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
