"""`sightline serve`: the HTTP service."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.options import Confidence, Device, Engine, Model, setting
from sightline.cli.progress import find_model
from sightline.errors import ConfigError
from sightline.settings import Settings, load_settings
from sightline.telemetry.logs import configure_logs
from sightline.workers.signals import abandon, exit_cleanly

if TYPE_CHECKING:
    from types import FrameType

    from sightline.api.middleware.keys import Keys
    from sightline.backend.messages import ModelInfo


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
    workers: Annotated[int | None, setting("workers")] = None,
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
        workers=workers,
    )
    configure_logs(settings.log_format)
    listener = _listen(settings.host, settings.port)  # before the model: a taken port shows at once
    with listener:
        if settings.workers:
            _supervise(settings, listener)
        else:
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
    gc.disable()  # nothing of what is imported and loaded here is garbage, until it serves
    signal.signal(signal.SIGTERM, partial(abandon, 0))
    signal.signal(signal.SIGINT, partial(abandon, 130))
    from uvicorn.loops.auto import auto_loop_factory

    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(_serve(settings, notice, listener))


async def _serve(settings: Settings, notice: str, listener: socket.socket) -> None:
    from sightline.backend.messages import Empty
    from sightline.backend.operations import STATUS
    from sightline.wiring.runtime import open_runtime

    importing = asyncio.create_task(_import_api())
    async with open_runtime(settings, notice) as runtime:
        await importing
        from sightline.api.app import create_app
        from sightline.api.server.config import DrainingServer, make_config

        app = create_app(settings, lambda: nullcontext(runtime))
        server = DrainingServer(make_config(app, settings, app.upload_budget))

        def leave(_signal: int, _frame: FrameType | None) -> None:
            server.should_exit = True

        # uvicorn takes signals while it runs. Before, they are kept for it; after, it raises them
        # again: for a service that was asked to stop, having stopped is success.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, leave)
        status = await runtime.backend.call(STATUS, Empty())
        _announce(status.models[0], settings, listener, app.keys)
        gc.freeze()
        gc.enable()
        await server.serve(sockets=[listener])


async def _import_api() -> None:
    """Half of a start is imports: they block the event loop while a thread loads the model."""
    await asyncio.sleep(0)  # that thread is started first
    import_module("sightline.api.app")


def _supervise(settings: Settings, listener: socket.socket) -> None:
    from sightline.api.middleware.keys import Keys
    from sightline.backend.limits import ClientLimits
    from sightline.wiring.network import open_fetcher
    from sightline.wiring.tasks import require_shared_tasks
    from sightline.workers.supervisor import require_unix_sockets, supervise

    # What is wrong with the settings is told here, once, and not by each process.
    require_unix_sockets()
    require_shared_tasks(settings)
    keys = Keys(settings)
    ClientLimits(settings)
    open_fetcher(settings)
    settings, notice = find_model(settings)
    signal.signal(signal.SIGTERM, exit_cleanly)
    announce = partial(_announce, settings=settings, listener=listener, keys=keys)
    raise typer.Exit(supervise(settings, notice, listener, announce))


def _announce(model: ModelInfo, settings: Settings, listener: socket.socket, keys: Keys) -> None:
    from sightline.api.middleware.access import is_loopback

    address, port = listener.getsockname()[:2]
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    said = (
        f"Sightline serves {model.name} ({model.family}, {len(model.labels or ())} classes) "
        f"with {model.engine} on {model.device}, {model.precision}\n"
        f"  try   curl -F file=@photo.jpg http://{shown}:{port}/detect\n"
        f"  page  http://{shown}:{port}/\n"
        f"  docs  http://{shown}:{port}/docs"
    )
    if settings.workers:
        said += f"\n  with  {settings.workers} front-end processes around one with the model"
    typer.echo(said)
    if not keys.required and not is_loopback(address):
        _log.warning(_OPEN_TO_ALL, settings.host)
