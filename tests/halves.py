"""Run all tests, in two processes side by side: most of them wait, for servers to start and to end.

    python tests/halves.py [pytest's options]

Both halves' coverage is reported together.
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


def main() -> int:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        second = start("rest", said)
        codes = [start("integration", None).wait(), second.wait()]
        said.seek(0)
        sys.stdout.write(said.read())
    if any(code not in {0, NOTHING_RAN} for code in codes):
        return 1
    kept = [f".coverage-{name}" for name in HALVES if os.path.exists(f".coverage-{name}")]  # noqa: PTH110
    run = [sys.executable, "-m", "coverage"]
    subprocess.run([*run, "combine", *kept], check=True)
    # A part of the tests covers a part of the code.
    whole = ["--fail-under=90"] if not sys.argv[1:] else ["--fail-under=0"]
    return subprocess.run([*run, "report", *whole], check=False).returncode


def start(name: str, stdout: IO[str] | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "--cov", "--cov-report=", "--cov-fail-under=0"]
    return subprocess.Popen(
        [*command, *HALVES[name], *sys.argv[1:]],
        env=os.environ | {"COVERAGE_FILE": f".coverage-{name}"},
        stdout=stdout,
    )


if __name__ == "__main__":
    sys.exit(main())
