"""Pictures that a task names in places of the operator's own: `s3://`, `gs://`, `az://`, `file://`."""

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
    """The places that are open. Safe from many threads."""

    def __init__(self, addresses: UrlPolicy, max_bytes: int, seconds: float) -> None:
        """Nothing is looked at yet.

        Args:
            addresses: says which may be read.
            max_bytes: of the largest picture.
            seconds: that reading one from a cloud may take.

        Raises:
            ConfigError: a prefix is not understood, or needs what is not installed.
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
            UrlRefused: it does not lie in an open place.
            UrlFailed: it is not there, or cannot be read.
            BodyTooLarge: it is larger than may be.
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
            # A pipe would keep its reader waiting.
            number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with open(number, "rb") as file:  # noqa: PTH123  what was opened, whatever it is called
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
            # What it says may name what lies inside.
            _log.warning("not read: %s: %s", url[:200], str(error).partition("\n")[0])
            raise UrlFailed("its store did not give it.", repr(error)) from error

    def _store(self, bucket: str) -> Any:
        """Who may read it follows from the environment, as the cloud's own tools have it."""
        from obstore.store import from_url

        limit = timedelta(seconds=self._seconds)
        # Where a store is spoken to in the open is the operator's choice, as the store itself is.
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
