"""Clients that post one picture again and again: wrk where it is installed, else ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from sightline.bench.load import run
from sightline.bench.plan import BenchImage, Plan, parse_target
from sightline.bench.stats import summarise

WARM_UP = 1.0  # seconds

# The request is made once, here; `done` tells what wrk counted, as one line of JSON.
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "{content_type}"
local file = assert(io.open("{body}", "rb"))
wrk.body = file:read("*all")
file:close()

function done(summary, latency, requests)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.timeout
   io.stderr:write(string.format(
      '{{"requests": %d, "us": %d, "not_ok": %d, "failed": %d, "p50_us": %d, "p95_us": %d}}',
      summary.requests, summary.duration, errors.status, failed,
      latency:percentile(50), latency:percentile(95)))
end
"""


class Load(NamedTuple):
    """Requests a second that were answered, and how long they took, ms; nan where unknown."""

    per_s: float
    p50: float
    p95: float


class LoadFailed(SystemExit):
    """A load of which the figures would mean nothing; ends a script that does not handle it."""


def client() -> str:
    """What loads the services here."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return "sightline bench (wrk is not installed)"
    said = subprocess.run([wrk, "--version"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2])


def load(url: str, picture: BenchImage, clients: int, seconds: float) -> Load:
    """Post `picture` to the service at `url` from so many kept connections.

    Raises:
        LoadFailed: none was answered, or not every one with 200: such a figure means nothing.
    """
    plan = Plan(parse_target(url), (picture,), clients, seconds, warm_up=WARM_UP)
    return _by_wrk(plan) if shutil.which("wrk") else _by_us(plan)


def _by_us(plan: Plan) -> Load:
    found = summarise(run(plan)[0])
    if not found.clean:
        raise LoadFailed(f"not every request was answered with 200: {found.endings}")
    return Load(found.ok_per_s, found.latency.p50 or 0.0, found.latency.p95 or 0.0)


def _by_wrk(plan: Plan) -> Load:
    head, _, body = plan.encode(plan.pictures[0]).partition(b"\r\n\r\n")
    lines = (line.partition(b": ") for line in head.splitlines())
    content_type = next(value.decode() for name, _, value in lines if name == b"Content-Type")
    with tempfile.TemporaryDirectory() as folder:
        body_file, script = Path(folder, "body"), Path(folder, "post.lua")
        body_file.write_bytes(body)
        script.write_text(_SCRIPT.format(content_type=content_type, body=body_file))
        _wrk(plan, script, plan.warm_up)
        found = _wrk(plan, script, plan.duration or 0.0)
    if found["not_ok"] or found["failed"]:
        raise LoadFailed(f"not every request was answered with 200: {found}")
    if not found["requests"]:
        case = f"{plan.pictures[0].name}, {plan.concurrency} clients"
        raise LoadFailed(f"no request was answered within {plan.duration:g} s ({case}): give more")
    return Load(found["requests"] * 1e6 / found["us"], found["p50_us"] / 1e3, found["p95_us"] / 1e3)


def _wrk(plan: Plan, script: Path, seconds: float) -> dict[str, Any]:
    command = ["wrk", "-t1", f"-c{plan.concurrency}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", f"{plan.timeout:g}s", "-s", str(script), plan.target.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadFailed(f"{' '.join(command)} failed: {done.stderr or done.stdout}")
    found: dict[str, Any] = json.loads(done.stderr)
    return found
