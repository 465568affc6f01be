"""Run all tests, in three processes side by side: most wait, for servers to start and to end.

    python tests/run_parallel.py [--cov] [pytest's options]

A test that fails is run once more when all parts have ended, with nothing beside it. If it passes
then, the run says `FLAKY: ` and its node id in its last lines, and is green; else it is red, as it
is if a part crashes, hangs, or cannot be collected.

With --cov, which takes a third more time, all parts' coverage is reported together.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

E2E = sorted(str(path) for path in Path("tests/e2e").glob("test_*.py"))
CLIENTS = re.compile(r"test_(page|camera|live|client|openapi|examples|bench|models|detect)")
# There, so that each part takes about as long.
QUANTIZE, REFERENCE, PULL = (
    f"tests/integration/test_{name}.py" for name in ("quantize", "reference", "pull")
)
# A plugin of pytest that takes a second to import; tests/e2e/test_openapi.py alone wants it.
LEAN = ["-p", "no:schemathesis"]
PARTS = {
    "integration": [
        *("tests/integration", *LEAN),
        *(f"--ignore={path}" for path in (QUANTIZE, REFERENCE, PULL)),
    ],
    "clients": [*(path for path in E2E if CLIENTS.search(path)), QUANTIZE],
    "rest": [
        *("tests/unit", "tests/contract", "tests/fuzz", REFERENCE, PULL, *LEAN),
        *(path for path in E2E if not CLIENTS.search(path)),
    ],
}
AGAIN = "again"
FAILED, NOTHING_RAN = 1, 5  # pytest's exit codes; the latter where -k or -m leaves none

# A test that hangs says where, and ends its part.
HUNG = ["-o", "faulthandler_timeout=240", "-o", "faulthandler_exit_on_timeout=true"]
COVERED = ["--cov", "--cov-report=", "--cov-fail-under=0"]


class Broken(Exception):
    """Something besides tests went wrong in a part."""


def main() -> int:
    options = sys.argv[1:]
    covered = "--cov" in options
    if covered:
        options.remove("--cov")
    code, last_lines = run(PARTS, options, covered=covered)
    if covered and code == 0:
        code = report(whole=not options)
        last_lines = last_lines if code == 0 else []
    sys.stdout.write("".join(f"{line}\n" for line in last_lines))
    return code


def run(
    parts: Mapping[str, Sequence[str]], options: Sequence[str], *, covered: bool = False
) -> tuple[int, list[str]]:
    """Run `parts`, each named and with pytest's arguments, and then what has failed once more.

    Returns:
        The exit code, and what is to be said last.
    """
    with tempfile.TemporaryDirectory() as folder:
        caches = {name: Path(folder) / name for name in [*parts, AGAIN]}
        codes = run_together(parts, options, caches, covered)
        try:
            failed = [
                test for name, code in codes.items() for test in failures(name, code, caches[name])
            ]
            still = failed and run_again(failed, options, caches[AGAIN], covered)
        except Broken as broken:
            return 1, [f"BROKEN: {broken}"]
    if still:
        return 1, [f"FAILED: {test}" for test in still]
    return 0, [*(f"FLAKY: {test}" for test in failed), "All tests passed."]


def run_together(
    parts: Mapping[str, Sequence[str]],
    options: Sequence[str],
    caches: Mapping[str, Path],
    covered: bool,
) -> dict[str, int]:
    """The parts' exit codes. The first one is shown as it goes, the others when they have ended."""
    _, *others = parts
    with ExitStack() as files:
        said = {name: files.enter_context(tempfile.TemporaryFile("w+")) for name in others}
        running = {
            name: start(name, [*chosen, *options], caches[name], covered, said.get(name))
            for name, chosen in parts.items()
        }
        codes = {name: part.wait() for name, part in running.items()}
        for name in others:
            said[name].seek(0)
            sys.stdout.write(said[name].read())
    sys.stdout.flush()
    return codes


def run_again(
    failed: Sequence[str], options: Sequence[str], cache: Path, covered: bool
) -> list[str]:
    """Those of the tests `failed` that fail again."""
    sys.stdout.write(f"Once more, now that all is quiet: {len(failed)} that failed\n")
    sys.stdout.flush()
    code = start(AGAIN, [*failed, *options], cache, covered).wait()
    if code == NOTHING_RAN:
        raise Broken(f"{AGAIN}: pytest does not find what failed")
    return failures(AGAIN, code, cache)


def start(
    name: str,
    arguments: Sequence[str],
    cache: Path,
    covered: bool,
    stdout: IO[str] | None = None,
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", *HUNG, *(COVERED if covered else [])]
    return subprocess.Popen(
        [*command, "-o", f"cache_dir={cache}", *arguments],
        env=os.environ | ({"COVERAGE_FILE": f".coverage-{name}"} if covered else {}),
        stdout=stdout,
    )


def failures(name: str, code: int, cache: Path) -> list[str]:
    """Node ids of the tests that failed in a part, as pytest's cache keeps them.

    Raises:
        Broken: the part ended otherwise, or what failed is no test.
    """
    if code in {0, NOTHING_RAN}:
        return []
    kept = cache / "v" / "cache" / "lastfailed"
    if code != FAILED or not kept.is_file():  # a hang, too, ends with 1, and keeps nothing
        raise Broken(f"{name}: pytest ended with {code}")
    failed = list(json.loads(kept.read_text("utf-8")))
    if not failed or not all("::" in test for test in failed):
        raise Broken(f"{name}: {', '.join(failed) or 'no test'} failed")
    return failed


def report(*, whole: bool) -> int:
    kept = [name for part in [*PARTS, AGAIN] if os.path.exists(name := f".coverage-{part}")]  # noqa: PTH110
    command = [sys.executable, "-m", "coverage"]
    subprocess.run([*command, "combine", *kept], check=True)
    # A part of the tests covers a part of the code.
    least = f"--fail-under={90 if whole else 0}"
    return subprocess.run([*command, "report", least], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
