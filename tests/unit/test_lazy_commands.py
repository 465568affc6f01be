"""Commands are imported when they are called: help and version load nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer.main
from typer.testing import CliRunner

from sightline.cli import COMMANDS, app
from sightline.cli.lazy import load

HEAVY = {"numpy", "pydantic", "fastapi", "httpx", "cv2", "onnx", "openvino", "rich", "structlog"}

# What the entry point does, and then a line of what was loaded.
MAIN = """
import atexit, sys
atexit.register(lambda: print(" ".join(sys.modules)))
from sightline.cli import main
sys.argv[0] = "sightline"
main()
"""


@pytest.mark.parametrize(
    ("argument", "shown"), [("--version", "sightline "), ("--help", "Usage: sightline ")]
)
def test_version_and_help_load_nothing_heavy(argument: str, shown: str) -> None:
    said = subprocess.check_output([sys.executable, "-c", MAIN, argument], text=True)
    assert said.startswith(shown)
    loaded = set(said.splitlines()[-1].split())
    assert "sightline.cli" in loaded
    assert not HEAVY & loaded
    assert not {f"sightline.cli.{name}" for name in COMMANDS} & loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_shows_their_own_help(name: str) -> None:
    listed, command = typer.main.get_group(app).commands[name], load(name)
    for width in (20, 45, 62, 1000):
        assert listed.get_short_help_str(width) == command.get_short_help_str(width)
    assert command.name == name


def test_a_misspelt_command_is_told_the_right_one() -> None:
    said = CliRunner().invoke(app, ["srve"])
    assert (said.exit_code, "Did you mean 'serve'?" in said.output) == (2, True)
