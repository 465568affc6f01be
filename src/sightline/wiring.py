"""Settings -> live objects. The only composition root."""

from __future__ import annotations

import logging
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from sightline.demo import canary
from sightline.errors import ConfigError, NotAllowed
from sightline.machine import DECODING_BYTES, budget, give_memory_back, memory_limit
from sightline.models.digest import digest
from sightline.models.pull import silent
from sightline.models.resolve import BUNDLED, is_pulled, resolve
from sightline.net.connect import Resolver
from sightline.net.fetch import Fetcher
from sightline.net.guard import Guard, parse_allowed
from sightline.serving.canary import Canary
from sightline.serving.detector import Detector
from sightline.serving.repository import Repository
from sightline.telemetry.meter import meter
from sightline.vision.formats import Sniffer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.backend.local import LocalBackend
    from sightline.net.connect import Resolve
    from sightline.net.download import Progress
    from sightline.settings import Settings
    from sightline.tasks.delivery.worker import DeliveryWorker
    from sightline.tasks.processing import TaskProcessing
    from sightline.tasks.services import TaskServices


_log = logging.getLogger("sightline")


def find_model(settings: Settings, progress: Progress = silent) -> tuple[Settings, str]:
    """`settings` whose model is a file on this machine, fetched if need be.

    Returns:
        The settings, and what to tell people about a model they did not ask for (else "").

    Raises:
        ConfigError: there is no model, or it cannot be had.
    """
    if settings.engine == "fake":
        return settings, ""
    found = resolve(settings.model, settings.pulled_dir, progress)
    return settings.model_copy(update={"model": str(found.path)}), found.notice


def open_detector(settings: Settings) -> Detector:
    """The detector that `settings` describe, loaded and warm.

    Raises:
        ConfigError: its model, its engine or its device cannot be had.
    """
    settings, _ = _find_and_log(_bearable(settings))
    return _open(settings, None, settings.model)


def open_repository(settings: Settings, notice: str | None = None) -> Repository:
    """The models that `settings` and earlier swaps name.

    Args:
        settings: their model is the default; it is loaded and warm on return.
        notice: what people should know of it, if `find_model` has told already.

    Raises:
        ConfigError: as `open_detector`.
    """
    give_memory_back()
    cv2.setNumThreads(1)  # its threads spin while they wait; pictures are many, and each has one
    settings = _bearable(settings)
    if notice is None:
        settings, notice = _find_and_log(settings)
    budget = settings.max_models_mb
    return Repository(
        lambda name, source: _open(settings, name, source),
        "fake" if settings.model is None else Path(settings.model).stem,
        settings.model,
        notice=notice,
        state_file=settings.state_file,
        max_bytes=None if budget is None else int(budget * 2**20),
    )


def _bearable(settings: Settings) -> Settings:
    """`settings` with no larger pictures than memory can bear to decode."""
    most = budget().pixels
    if settings.max_pixels <= most:
        return settings
    _log.warning(
        "Pictures of more than %.1f million pixels are refused, not %.1f: there are %d MB of "
        "memory, and decoding takes up to %d bytes a pixel. Give the service more memory, or set "
        "SIGHTLINE_MAX_PIXELS=%d to say the same without this line.",
        most / 1e6, settings.max_pixels / 1e6, memory_limit() // 2**20, DECODING_BYTES, most,
    )  # fmt: skip
    return settings.model_copy(update={"max_pixels": most})


def _find_and_log(settings: Settings) -> tuple[Settings, str]:
    settings, notice = find_model(settings)
    if notice:
        _log.warning("%s", notice)
    return settings, notice


def open_canary(settings: Settings, repository: Repository) -> Canary:
    """Watches over the models of `repository`, with a scene whose toys the demo model knows."""
    picture, truth = canary.read()
    truths = {digest(BUNDLED): truth} if BUNDLED.is_file() else {}
    return Canary(repository, picture, truths, settings.canary_interval)


def local_backend(
    settings: Settings,
    open_repository: Callable[[], Repository],
    open_tasks: Callable[[], TaskServices] | None = None,
) -> LocalBackend:
    """What the API stands on where all is in one process.

    Args:
        settings: limits.
        open_repository: called when it is entered.
        open_tasks: has the tasks that are worked on here; None if none are.

    Raises:
        ConfigError: the limits cannot be understood.
    """
    from sightline.backend.limits import ClientLimits
    from sightline.backend.local import LocalBackend

    return LocalBackend(
        open_repository,
        partial(open_canary, settings),
        partial(check_source, settings),
        ClientLimits(settings),
        settings.max_wait,
        meter(),
        None
        if open_tasks is None
        else lambda models: open_processing(settings, models, open_tasks()),
    )


def require_shared_tasks(settings: Settings) -> None:
    """Raises ConfigError if tasks are kept where only one process sees them."""
    if settings.tasks_dir is None:
        raise ConfigError(
            "option 'workers' needs a folder that its processes share: name another data_dir than "
            "`:memory:`, or leave workers at 0"
        )


def open_tasks(settings: Settings) -> TaskServices:
    """Where tasks are handed in and asked after.

    Raises:
        ConfigError: their place cannot be used, or a newer program has made it.
        StorageUnavailable: it cannot be reached now.
    """
    from sightline.storage.blobs import FolderBlobs, MemoryBlobs
    from sightline.storage.database import Database
    from sightline.tasks.changes import ChangeFeed
    from sightline.tasks.services import TaskServices
    from sightline.tasks.store import TaskStore
    from sightline.tasks.task import Backlog
    from sightline.tasks.url_policy import UrlPolicy

    folder, url = settings.tasks_dir, settings.database_url
    if folder is None and url is not None:
        raise ConfigError(
            "option 'database_url' keeps tasks, and a data_dir of `:memory:` loses their pictures: "
            "name a folder, or leave the database out"
        )
    file = None if folder is None else folder / "tasks.db"
    database = Database(file if url is None else url.get_secret_value())
    blobs = MemoryBlobs() if folder is None else FolderBlobs(folder / "blobs")
    backlog = Backlog(settings.max_backlog_images, _kept(settings, settings.max_backlog_mb))
    store = TaskStore(database, blobs, backlog, ttl=settings.result_ttl)
    changes = ChangeFeed(store)
    store.on_change.append(changes.committed)
    guard = Guard(parse_allowed(settings.url_allow))
    addresses = UrlPolicy(guard, Resolver(socket.getaddrinfo), settings.url_prefixes)
    return TaskServices(database, blobs, store, changes, addresses, backlog)


def _kept(settings: Settings, megabytes: float) -> int:
    """Bytes of pictures that may be kept; in memory no more than it bears."""
    most = memory_limit() // 8 if settings.tasks_dir is None else sys.maxsize
    return min(int(megabytes * 2**20), most)


def open_processing(
    settings: Settings, repository: Repository, desk: TaskServices
) -> TaskProcessing:
    """What works on the tasks of `desk`, with the models of `repository`.

    Raises:
        ConfigError: a place that pictures may be taken from is not understood, or there is no
            secret for callbacks.
    """
    from sightline.tasks.image_loader import ImageLoader
    from sightline.tasks.object_reader import ObjectReader
    from sightline.tasks.processing import TaskProcessing
    from sightline.tasks.queue import TaskQueue
    from sightline.tasks.retention import Cleaner
    from sightline.tasks.worker import Worker

    seconds = settings.url_timeout
    places = ObjectReader(desk.addresses, settings.max_upload_bytes, seconds)
    pictures = ImageLoader(desk.blobs, open_fetcher(settings).fetch, places, seconds)
    queue = TaskQueue(desk.database, ttl=settings.result_ttl)
    queue.on_change.append(desk.changes.committed)
    cleaner = Cleaner(desk.database, desk.blobs, _kept(settings, settings.max_results_mb))
    cleaner.on_change.append(desk.changes.committed)
    deliveries = open_deliveries(settings, desk)
    queue.on_change.append(deliveries.wake)
    cleaner.start()
    deliveries.start()
    return TaskProcessing(
        Worker(queue, repository, pictures, settings.tasks_dir), cleaner, deliveries
    )


def open_deliveries(settings: Settings, desk: TaskServices) -> DeliveryWorker:
    """What makes the callbacks of the tasks of `desk`; it is not started yet.

    Raises:
        ConfigError: the secret that they are signed with cannot be had.
    """
    from sightline.net.webhooks import Caller, open_secret
    from sightline.tasks.delivery.outbox import Outbox
    from sightline.tasks.delivery.worker import DeliveryWorker

    configured = settings.webhook_secret
    key = open_secret(
        None if configured is None else configured.get_secret_value(), settings.secret_file
    )
    caller = Caller(key, desk.addresses.guard, desk.addresses.resolver)
    outbox = Outbox(desk.database, root_path=settings.root_path)
    deliveries = DeliveryWorker(outbox, caller.post)
    desk.store.on_change.append(deliveries.wake)
    return deliveries


def check_source(settings: Settings, source: str) -> None:
    """Whether a model may be loaded from `source` over HTTP.

    Raises:
        NotAllowed: it is a path outside the configured folder.
    """
    if is_pulled(source):
        return
    folder = settings.models_folder
    if folder is None:
        raise NotAllowed("Paths are loaded over HTTP from SIGHTLINE_MODELS_FOLDER alone; set it.")
    if not Path(source).resolve().is_relative_to(folder.expanduser().resolve()):
        raise NotAllowed("The source is outside the folder that models may be loaded from.")


def open_fetcher(settings: Settings, resolve: Resolve = socket.getaddrinfo) -> Fetcher:
    """Fetches the pictures that clients name, from where they may.

    Args:
        settings: limits, and the hosts that are open.
        resolve: looks names up.

    Raises:
        ConfigError: a host that is to be open is not understood.
    """
    return Fetcher(
        settings.max_upload_bytes,
        Sniffer,
        Guard(parse_allowed(settings.url_allow)),
        Resolver(resolve),
    )


def _open(settings: Settings, name: str | None, source: str | None) -> Detector:
    fake = settings.engine == "fake"
    detector = Detector(
        source if fake else resolve(source, settings.pulled_dir).path,
        name=name,
        engine=settings.engine,
        device=settings.device,
        confidence=settings.confidence,
        max_pixels=settings.max_pixels,
        max_queue=settings.max_queue,
        max_batch=settings.max_batch,
        cache_dir=settings.cache_dir,
    )
    detector.listen(meter().note)
    return detector
