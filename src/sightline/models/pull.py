"""Model downloads, kept in a cache.

A model is fetched into `partial/`, checked, and renamed into place: a file with its final name is
always complete. The record beside it is written at the first pull and enforced afterwards.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import onnx
from filelock import FileLock, Timeout
from onnx.external_data_helper import uses_external_data
from pydantic import BaseModel, ValidationError

from sightline.errors import ModelError, ModelUnreachable
from sightline.models.sources import Source, locate
from sightline.net.download import DownloadTimeouts, Progress, download
from sightline.net.partial import Partial

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger("sightline")

PULL_TIMEOUTS = DownloadTimeouts(first_byte=15, idle=30)
"""Timeouts of a download that a user has asked for and waits for."""


class PullRecord(BaseModel):
    """A model's record from its first pull.

    Attributes:
        address: it was pulled from, without user, password and query.
        sha256: of the file, in hex.
        size: in bytes.
        etag: the server's name for this content, if it gave a reliable one.
        pulled_at: UTC.
    """

    address: str
    sha256: str
    size: int
    etag: str | None
    pulled_at: datetime


def silent(_done: int, _total: int | None) -> None:
    """A `Progress` that does nothing."""


def cached(source: Source) -> Path | None:
    """The model's file in the cache, checked against its record; None if not cached. No network.

    Raises:
        ModelError: the file has changed since it was pulled, or cannot be read.
    """
    if not source.path.is_file():
        return None
    _expected(source, _read_record(source))
    return source.path


def pull(
    name: str,
    cache_dir: Path,
    progress: Progress = silent,
    *,
    timeouts: DownloadTimeouts = PULL_TIMEOUTS,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch a model, or check that the copy in the cache is up to date.

    Safe to call from several processes at once: one fetches, the others wait for it. Where the
    server cannot be reached, the copy in the cache is used.

    Args:
        name: a name in the catalogue, `https://…`, `http://…` or `hf://owner/repo/file.onnx`.
        cache_dir: where models are kept; created if needed.
        progress, timeouts, sleep: see `net.download.download`.

    Raises:
        ModelError: it cannot be fetched, or has changed since the first pull; a copy in the cache
            is kept.
    """
    source = locate(name, cache_dir)
    before = _read_record(source)
    with _locked(source):
        record = _read_record(source)
        expected = _expected(source, record)
        is_cached = source.path.is_file()
        if is_cached and record != before:
            return source.path  # another process has just fetched it
        part = Partial(source.partial)
        etag = record.etag if is_cached and record is not None else None
        fetch = partial(download, source.address, part, timeouts=timeouts, progress=progress)
        try:
            if fetch(etag=etag, sleep=sleep):
                _install(source, part, expected)
        except ModelUnreachable:
            if not is_cached:
                raise
    return source.path


def _install(source: Source, part: Partial, expected: str | None) -> None:
    """Check the fetched file and move it into place; `expected` is its sha256, if known."""
    try:
        _require_onnx(part.path, source)
        digest = _sha256(part.path)
        if expected is not None and digest != expected:
            raise ModelError(
                f"{source.shown} has changed since it was first pulled (sha256 {digest[:12]}…, "
                f"was {expected[:12]}…): it is not taken. If you trust the new one, remove "
                f"{source.record} and {source.path.name} beside it, and pull again"
            )
        record = PullRecord(
            address=source.shown,
            sha256=digest,
            size=part.size(),
            etag=part.etag(),
            pulled_at=datetime.now(UTC),
        )
        source.path.parent.mkdir(parents=True, exist_ok=True)
        if source.toml and not source.path.with_suffix(".toml").exists():
            _write(source.path.with_suffix(".toml"), source.toml)
        part.path.replace(source.path)
        _write(source.record, record.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise _disk_error(source, error) from error
    finally:
        part.discard()


def _require_onnx(path: Path, source: Source) -> None:
    """Raise ModelError if the file at `path` is not a complete ONNX network."""
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except Exception as error:
        raise ModelError(f"{source.shown} is not a readable ONNX file: {error}") from error
    if not model.graph.output:
        raise ModelError(f"{source.shown} is not a readable ONNX file: it has no outputs")
    if any(uses_external_data(tensor) for tensor in model.graph.initializer):
        raise ModelError(
            f"{source.shown} keeps its weights in a second file. Fetch both by hand, side by "
            "side, and name the first: --model path/to/model.onnx"
        )


def _expected(source: Source, record: PullRecord | None) -> str | None:
    """The sha256 that a pull must match: the record's, else that of the cached file, else None.

    Raises:
        ModelError: the cached file does not match its record.
    """
    if not source.path.is_file():
        return None if record is None else record.sha256
    try:
        digest = _sha256(source.path)
    except OSError as error:
        raise _disk_error(source, error) from error
    if record is not None and digest != record.sha256:
        raise ModelError(
            f"{source.path} is damaged: it is not what was pulled on "
            f"{record.pulled_at:%Y-%m-%d} (sha256 {digest[:12]}…, was {record.sha256[:12]}…). "
            f"Remove it and pull again: sightline pull {source.name}"
        )
    return digest


def _read_record(source: Source) -> PullRecord | None:
    try:
        return PullRecord.model_validate_json(source.record.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _disk_error(source, error) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise ModelError(f"{source.record} is not readable: remove it and pull again") from error


@contextmanager
def _locked(source: Source) -> Iterator[None]:
    """Hold the lock that keeps other processes from pulling the same model."""
    lock = FileLock(source.partial.with_suffix(".lock"))
    try:
        source.partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.warning("another process is pulling %s: waiting for it", source.name)
            lock.acquire()
    except OSError as error:
        raise _disk_error(source, error) from error
    try:
        yield
    finally:
        lock.release()


def _write(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    scratch = path.with_name(f".{path.name}.new")
    try:
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _disk_error(source: Source, error: OSError) -> ModelError:
    return ModelError(
        f"{source.name} cannot be kept in {source.path.parent}: {error.strerror or error}. "
        "Make room there, or name another folder with --data-dir"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
