"""Run all tests, in two processes side by side: most of them wait, for servers to start and to end.

    python tests/halves.py [--cov] [pytest's options]

With --cov, which takes a third more time, both halves' coverage is reported together.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import IO

HALVES = {
    "integration": ["tests/integration"],
    "rest": ["tests/unit", "tests/contract", "tests/e2e", "tests/fuzz"],
}
NOTHING_RAN = 5  # pytest's exit code where -k or -m leaves none


COVERED = ["--cov", "--cov-report=", "--cov-fail-under=0"]


def main() -> int:
    options = sys.argv[1:]
    covered = "--cov" in options
    if covered:
        options.remove("--cov")
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        second = start("rest", options, covered, said)
        codes = [start("integration", options, covered, None).wait(), second.wait()]
        said.seek(0)
        sys.stdout.write(said.read())
    if any(code not in {0, NOTHING_RAN} for code in codes):
        return 1
    sys.stdout.write("All tests passed.\n")
    return report(options) if covered else 0


def start(
    name: str, options: list[str], covered: bool, stdout: IO[str] | None
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", *(COVERED if covered else [])]
    return subprocess.Popen(
        [*command, *HALVES[name], *options],
        env=os.environ | {"COVERAGE_FILE": f".coverage-{name}"},
        stdout=stdout,
    )


def report(options: list[str]) -> int:
    kept = [f".coverage-{name}" for name in HALVES if os.path.exists(f".coverage-{name}")]  # noqa: PTH110
    run = [sys.executable, "-m", "coverage"]
    subprocess.run([*run, "combine", *kept], check=True)
    # A part of the tests covers a part of the code.
    whole = ["--fail-under=0"] if options else ["--fail-under=90"]
    return subprocess.run([*run, "report", *whole], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
