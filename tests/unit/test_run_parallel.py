"""The run of all tests: what fails once and then passes is told, what is broken is red."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import run_parallel

PASSES = "def test_passes(): pass"
FAILS = "def test_fails(): assert False"
FAILS_ONCE = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("when", ["a [b]::c"])
def test_fails_once(when):
    seen = Path("seen")
    first = not seen.exists()
    seen.touch()
    assert not first
"""
HANGS = """
import os

def test_hangs(): os._exit(1)  # with what faulthandler ends a hang
"""
NOT_COLLECTED = "import no_such_module"


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take most of the time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(folder: Path, **parts: list[str]) -> tuple[int, list[str]]:
    """Run parts of tests with these sources."""
    chosen = {}
    for name, sources in parts.items():
        (folder / name).mkdir()
        for number, source in enumerate(sources):
            (folder / name / f"test_{name}_{number}.py").write_text(source)
        chosen[name] = [name]
    return run_parallel.run(chosen, ["-q"])


def test_what_fails_once_is_told_and_the_run_is_green(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, last = run(tmp_path, one=[PASSES], two=[PASSES, FAILS_ONCE])
    flaky = "FLAKY: two/test_two_1.py::test_fails_once[a [b]::c]"
    assert (code, last) == (0, [flaky, "All tests passed."])
    summaries = re.findall(r"^\d.*(?:passed|failed).* in ", capfd.readouterr().out, re.MULTILINE)
    assert summaries == ["1 passed in ", "1 failed, 1 passed in ", "1 passed in "]


def test_what_fails_twice_is_red(tmp_path: Path) -> None:
    code, last = run(tmp_path, one=[PASSES, FAILS], two=[FAILS_ONCE])
    assert (code, last) == (1, ["FAILED: one/test_one_1.py::test_fails"])


@pytest.mark.parametrize("source", [HANGS, NOT_COLLECTED])
def test_a_part_that_breaks_is_red(tmp_path: Path, source: str) -> None:
    code, (last,) = run(tmp_path, one=[PASSES, source])
    assert code == 1
    assert last.startswith("BROKEN: one: ")


def test_so_is_any_other_end_but_that_nothing_was_chosen(tmp_path: Path) -> None:
    assert run_parallel.failures("one", run_parallel.NOTHING_RAN, tmp_path) == []
    for code in (-11, 2, 3, 4):
        with pytest.raises(run_parallel.Broken, match=f"one: pytest ended with {code}"):
            run_parallel.failures("one", code, tmp_path)
