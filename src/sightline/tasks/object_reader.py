"""Reads pictures from the operator's own stores: `s3://`, `gs://`, `az://`, `file://`."""

from __future__ import annotations

import logging
import os
import stat
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from sightline.errors import BodyTooLarge, ConfigError, UrlFailed, UrlRefused

if TYPE_CHECKING:
    from sightline.tasks.url_policy import UrlPolicy

_CLOUDS = frozenset({"s3", "gs", "az"})
_log = logging.getLogger("sightline")


class ObjectReader:
    """Reads pictures under the permitted URL prefixes. Safe from many threads."""

    def __init__(self, addresses: UrlPolicy, max_bytes: int, seconds: float) -> None:
        """A reader that has connected to nothing yet.

        Args:
            addresses: decides which URLs may be read.
            max_bytes: most bytes of a picture.
            seconds: most seconds of a read from a cloud store.

        Raises:
            ConfigError: a prefix has an unknown scheme, or needs a package that is missing.
        """
        self._addresses = addresses
        self._max_bytes = max_bytes
        self._seconds = seconds
        for prefix in addresses.prefixes:
            scheme = prefix.partition("://")[0]
            if scheme in _CLOUDS:
                _require_obstore(prefix)
            elif not prefix.startswith("file:///"):
                raise ConfigError(
                    f"option 'url_prefixes': {prefix!r} is none of s3://bucket/…, gs://bucket/…, "
                    "az://container/… and file:///folder/"
                )

    def read(self, url: str) -> bytes:
        """The file at `url`.

        Raises:
            UrlRefused: it is not under a permitted prefix.
            UrlFailed: it does not exist, or cannot be read.
            BodyTooLarge: it has more than `max_bytes`.
        """
        self._addresses.require(url)
        return self._read_file(url) if url.startswith("file:") else self._read_cloud(url)

    def _read_file(self, url: str) -> bytes:
        prefixes = self._addresses.prefixes
        folders = [_path(prefix) for prefix in prefixes if prefix.startswith("file:")]
        try:
            path = _path(url)
            if not any(path.is_relative_to(folder) for folder in folders):
                raise UrlRefused("it leads out of the folder that is open here.", str(path))
            # Without O_NONBLOCK, opening a pipe blocks.
            number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with open(number, "rb") as file:  # noqa: PTH123  by descriptor
                if not stat.S_ISREG(os.fstat(number).st_mode):
                    raise UrlFailed("it is not a file.", str(path))
                data = file.read(self._max_bytes + 1)
        except (OSError, ValueError) as error:
            raise UrlFailed("there is no such file, or it cannot be read.", repr(error)) from error
        if len(data) > self._max_bytes:
            raise BodyTooLarge(self._max_bytes)
        return data

    def _read_cloud(self, url: str) -> bytes:
        import obstore
        from obstore.exceptions import BaseError

        scheme, _, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        try:
            found = obstore.get(self._store(f"{scheme}://{bucket}"), key)
            if found.meta["size"] > self._max_bytes:
                raise BodyTooLarge(self._max_bytes)
            return bytes(found.bytes())
        except (BaseError, OSError, ValueError) as error:
            # For the log only: the message may name internals of the store.
            _log.warning("not read: %s: %s", url[:200], str(error).partition("\n")[0])
            raise UrlFailed("its store did not give it.", repr(error)) from error

    def _store(self, bucket: str) -> Any:
        """The store of a bucket, with the credentials of the environment, as the cloud's tools."""
        from obstore.store import from_url

        limit = timedelta(seconds=self._seconds)
        # The operator chooses the store, and so whether it is reached without TLS.
        options: Any = {"timeout": limit, "connect_timeout": limit, "allow_http": True}
        return from_url(
            bucket,
            client_options=options,
            retry_config={"max_retries": 1, "retry_timeout": limit},
        )


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path)).resolve()


def _require_obstore(prefix: str) -> None:
    try:
        import obstore  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"option 'url_prefixes': {prefix} needs more than is installed; "
            "pip install 'sightline[cloud]'"
        ) from error
