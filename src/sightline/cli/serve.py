"""`sightline serve`: the HTTP service."""

from __future__ import annotations

import logging
import signal
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.options import Confidence, Device, Engine, Model, setting
from sightline.cli.progress import find_model
from sightline.errors import ConfigError
from sightline.settings import Settings, load_settings
from sightline.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from types import FrameType

    from sightline.serving.detector import Detector
    from sightline.serving.repository import Repository


_OPEN_TO_ALL = (
    "%s opens the service to everybody who can reach this machine: name keys with "
    "SIGHTLINE_API_KEYS (`sightline key NAME` makes one)"
)
_log = logging.getLogger("sightline")


def serve(
    model: Model = None,
    host: Annotated[str | None, setting("host")] = None,
    port: Annotated[int | None, setting("port")] = None,
    engine: Engine = None,
    device: Device = None,
    confidence: Confidence = None,
    data_dir: Annotated[str | None, setting("data_dir")] = None,
) -> None:
    """Serve object detection over HTTP.

    Every option is also SIGHTLINE_<NAME> in the environment and a key in sightline.toml.
    """
    settings = load_settings(
        model=model,
        host=host,
        port=port,
        engine=engine,
        device=device,
        confidence=confidence,
        data_dir=data_dir,
    )
    configure_logs(settings.log_format)
    listener = _listen(settings.host, settings.port)  # before the model: a taken port shows at once
    with listener:
        _run(*find_model(settings), listener)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, not yet listening: clients are refused until the model is ready.

    Raises:
        ConfigError: the address is not ours, or the port is in use or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}. Choose another with --port."
        ) from error
    return listener


def _run(settings: Settings, notice: str, listener: socket.socket) -> None:
    import uvicorn

    from sightline.api.app import create_app
    from sightline.api.gate import is_loopback
    from sightline.api.server import make_config
    from sightline.wiring import local_backend, open_fetcher, open_repository

    opened: list[Repository] = []
    backend = local_backend(settings, lambda: opened[0])
    app = create_app(settings, backend, open_fetcher(settings).fetch)
    signal.signal(signal.SIGTERM, _stop)
    opened.append(open_repository(settings, notice))
    with opened[0].lease() as detector:
        _announce(detector, settings.host, listener.getsockname()[1])
    if not app.state.keys.required and not is_loopback(listener.getsockname()[0]):
        _log.warning(_OPEN_TO_ALL, settings.host)
    # uvicorn drains on SIGTERM and then raises the signal again; for a service that was asked
    # to stop, having stopped is success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ignore)
    uvicorn.Server(make_config(app, settings)).run(sockets=[listener])


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """A model that is still being loaded is nothing to wait for."""
    raise SystemExit(0)


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    """Nothing left to do."""


def _announce(detector: Detector, host: str, port: int) -> None:
    spec = detector.spec
    shown = f"[{host}]" if ":" in host else host
    typer.echo(
        f"Sightline serves {spec.name} ({spec.family}, {len(spec.labels)} classes) "
        f"with {detector.engine} on {detector.device}, {detector.precision}\n"
        f"  try   curl -F file=@photo.jpg http://{shown}:{port}/detect\n"
        f"  docs  http://{shown}:{port}/docs"
    )
