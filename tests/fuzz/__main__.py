"""Fuzz a service by hand, or repeat one request of a failed run.

    PYTHONPATH=tests python -m fuzz --count 20000              seed 1, a server of its own
    PYTHONPATH=tests python -m fuzz --seed 7 --only 4711       one request and its answer
    PYTHONPATH=tests python -m fuzz --seed 7 --only 4711 --dump request.bin

Requests depend on the seed and the index alone, and on nothing that was sent before.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from fuzz.client import Client
from fuzz.requests import build
from fuzz.storm import Report, one, shortened, storm
from fuzz.watch import Watched, watched


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--only", type=int, help="the index of one request")
    parser.add_argument("--dump", type=Path, help="write that request's bytes, and send nothing")
    options = parser.parse_args()
    if options.dump is not None:
        options.dump.write_bytes(build(options.seed, options.only or 0).data)
        return 0
    with watched() as server:
        if options.only is not None:
            report = asyncio.run(_single(server, options.seed, options.only))
        else:
            report = storm(server, options.seed, options.count, print)
            _print_kinds(report)
        print(report, server.usage, *report.failures, *server.fault, sep="\n")
    return bool(report.failures or server.fault)


async def _single(server: Watched, seed: int, index: int) -> Report:
    print(shortened(build(seed, index).data, 4000))
    report, client = Report(seed), Client(server.host, server.port)
    await one(client, report, index)
    await client.close()
    return report


def _print_kinds(report: Report) -> None:
    for (kind, status), number in sorted(report.kinds.items()):
        print(f"{kind:20} {status} {number:7}")
    for problem, told in sorted(report.problems.items()):
        print(problem, *told)


if __name__ == "__main__":
    raise SystemExit(main())
