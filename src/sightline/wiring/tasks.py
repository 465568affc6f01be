"""Opens the store of tasks, their processing, and their callbacks."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from sightline.errors import ConfigError
from sightline.machine import memory_limit
from sightline.net.connect import Resolver
from sightline.wiring.network import open_fetcher, open_guard

if TYPE_CHECKING:
    from sightline.serving.repository import Repository
    from sightline.settings import Settings
    from sightline.tasks.delivery.worker import DeliveryWorker
    from sightline.tasks.processing import TaskProcessing
    from sightline.tasks.services import TaskServices


def require_shared_tasks(settings: Settings) -> None:
    """Raises ConfigError if tasks are stored where only one process sees them."""
    if settings.tasks_dir is None:
        raise ConfigError(
            "option 'workers' needs a folder that its processes share: name another data_dir than "
            "`:memory:`, or leave workers at 0"
        )


def open_tasks(settings: Settings) -> TaskServices:
    """The store of tasks and what belongs to it, open.

    Raises:
        ConfigError: the database or its folder cannot be used, or a newer version has made it.
        StorageUnavailable: the database cannot be reached now.
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
    backlog = Backlog(settings.max_backlog_images, _max_bytes(settings, settings.max_backlog_mb))
    store = TaskStore(database, blobs, backlog, ttl=settings.result_ttl)
    changes = ChangeFeed(store)
    store.on_change.append(changes.committed)
    resolver = Resolver(socket.getaddrinfo)
    addresses = UrlPolicy(open_guard(settings), resolver, settings.url_prefixes)
    return TaskServices(database, blobs, store, changes, addresses, backlog)


def _max_bytes(settings: Settings, megabytes: float) -> int:
    """Most bytes of stored pictures: `megabytes`, and in memory at most an eighth of it."""
    most = memory_limit() // 8 if settings.tasks_dir is None else sys.maxsize
    return min(int(megabytes * 2**20), most)


def open_processing(
    settings: Settings, repository: Repository, tasks: TaskServices
) -> TaskProcessing:
    """The processing of `tasks` with the models of `repository`; not started yet.

    Raises:
        ConfigError: an entry of `url_allow` or `url_prefixes` is invalid, a package for one is
            missing, or there is no secret for callbacks.
    """
    from sightline.tasks.image_loader import ImageLoader
    from sightline.tasks.object_reader import ObjectReader
    from sightline.tasks.processing import TaskProcessing
    from sightline.tasks.queue import TaskQueue
    from sightline.tasks.retention import Cleaner
    from sightline.tasks.worker import Worker

    seconds = settings.url_timeout
    objects = ObjectReader(tasks.addresses, settings.max_upload_bytes, seconds)
    images = ImageLoader(tasks.blobs, open_fetcher(settings).fetch, objects, seconds)
    queue = TaskQueue(tasks.database, ttl=settings.result_ttl)
    queue.on_change.append(tasks.changes.committed)
    cleaner = Cleaner(tasks.database, tasks.blobs, _max_bytes(settings, settings.max_results_mb))
    cleaner.on_change.append(tasks.changes.committed)
    deliveries = open_deliveries(settings, tasks)
    queue.on_change.append(deliveries.wake)
    worker = Worker(queue, repository, images, settings.tasks_dir)
    return TaskProcessing(worker, cleaner, deliveries)


def open_deliveries(settings: Settings, tasks: TaskServices) -> DeliveryWorker:
    """The worker that makes the callbacks of `tasks`; not started yet.

    Raises:
        ConfigError: there is no secret to sign them with.
    """
    from sightline.net.webhooks import WebhookSender, open_secret
    from sightline.tasks.delivery.outbox import Outbox
    from sightline.tasks.delivery.worker import DeliveryWorker

    configured = settings.webhook_secret
    key = open_secret(
        None if configured is None else configured.get_secret_value(), settings.secret_file
    )
    sender = WebhookSender(key, tasks.addresses.guard, tasks.addresses.resolver)
    outbox = Outbox(tasks.database, root_path=settings.root_path)
    deliveries = DeliveryWorker(outbox, sender.post)
    tasks.store.on_change.append(deliveries.wake)
    return deliveries
