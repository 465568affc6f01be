"""Run all tests, in three processes side by side: most wait, for servers to start and to end.

    python tests/run_parallel.py [--cov] [pytest's options]

With --cov, which takes a third more time, all parts' coverage is reported together.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

E2E = sorted(str(path) for path in Path("tests/e2e").glob("test_*.py"))
CLIENTS = re.compile(r"test_(page|camera|live|client|openapi|examples|bench|models|detect)")
# There, so that each part takes about as long.
QUANTIZE, REFERENCE, PULL = (
    f"tests/integration/test_{name}.py" for name in ("quantize", "reference", "pull")
)
PARTS = {
    "integration": ["tests/integration", *(f"--ignore={i}" for i in (QUANTIZE, REFERENCE, PULL))],
    "clients": [*(path for path in E2E if CLIENTS.search(path)), QUANTIZE],
    "rest": [
        *("tests/unit", "tests/contract", "tests/fuzz", REFERENCE, PULL),
        *(path for path in E2E if not CLIENTS.search(path)),
    ],
}
NOTHING_RAN = 5  # pytest's exit code where -k or -m leaves none


# A test that hangs says where, and ends its part.
HUNG = ["-o", "faulthandler_timeout=240", "-o", "faulthandler_exit_on_timeout=true"]
COVERED = ["--cov", "--cov-report=", "--cov-fail-under=0"]


def main() -> int:
    options = sys.argv[1:]
    covered = "--cov" in options
    if covered:
        options.remove("--cov")
    _, *others = PARTS
    with ExitStack() as files:
        said = {name: files.enter_context(tempfile.TemporaryFile("w+")) for name in others}
        running = [start(name, options, covered, said.get(name)) for name in PARTS]
        codes = [part.wait() for part in running]
        for name in others:
            said[name].seek(0)
            sys.stdout.write(said[name].read())
    if any(code not in {0, NOTHING_RAN} for code in codes):
        return 1
    sys.stdout.write("All tests passed.\n")
    return report(options) if covered else 0


def start(
    name: str, options: list[str], covered: bool, stdout: IO[str] | None
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", *HUNG, *(COVERED if covered else [])]
    return subprocess.Popen(
        [*command, *PARTS[name], *options],
        env=os.environ | {"COVERAGE_FILE": f".coverage-{name}"},
        stdout=stdout,
    )


def report(options: list[str]) -> int:
    kept = [f".coverage-{name}" for name in PARTS if os.path.exists(f".coverage-{name}")]  # noqa: PTH110
    run = [sys.executable, "-m", "coverage"]
    subprocess.run([*run, "combine", *kept], check=True)
    # A part of the tests covers a part of the code.
    whole = ["--fail-under=0"] if options else ["--fail-under=90"]
    return subprocess.run([*run, "report", *whole], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
