"""The entry point of the supervisor's children: `python -m sightline.workers ROLE`."""

from __future__ import annotations

import signal
import sys

import typer

from sightline.errors import SightlineError
from sightline.telemetry.logs import configure_logs
from sightline.workers.child import WorkerConfig, receive_config
from sightline.workers.signals import exit_cleanly


def _main() -> None:
    signal.signal(signal.SIGTERM, exit_cleanly)
    config = receive_config()
    configure_logs(config.settings.log_format)
    try:
        _run(sys.argv[1], config)
    except SightlineError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)


def _run(role: str, config: WorkerConfig) -> None:
    if role == "engine":
        from sightline.workers import engine

        engine.run(config)
    else:
        from sightline.workers import front

        front.run(config)


if __name__ == "__main__":
    _main()
