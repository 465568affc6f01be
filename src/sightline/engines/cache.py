"""Disk cache of compiled networks, so that the next start is quick."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

_MAX_FILES = 20  # the least recently used are deleted
_DIGEST_BYTES = hashlib.sha256().digest_size
_log = logging.getLogger("sightline")


class EngineCache:
    """Disk cache of one model's compiled networks, in a folder that all models share.

    A file holds a SHA-256 and the compiled network that it is of, because an engine may return
    nonsense from a damaged file. A file that cannot be read or written only costs a compilation.
    """

    def __init__(self, folder: str | os.PathLike[str], model: str) -> None:
        """A cache in `folder`, created when needed, for the model with the digest `model`."""
        self.folder = Path(folder).expanduser()
        self._model = model

    def load(self, key: str) -> bytes | None:
        """The data stored under `key` (which names all that it depends on); None if not intact."""
        file = self._file(key)
        try:
            content = file.read_bytes()
            os.utime(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("%s cannot be read (%s): the model is compiled again", file, error)
            return None
        data = content[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != content[:_DIGEST_BYTES]:
            _log.warning("%s is damaged: the model is compiled again", file)
            return None
        return data

    def store(self, key: str, data: bytes) -> None:
        """Store `data` under `key`."""
        file = self._file(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as draft:
                try:
                    draft.write(hashlib.sha256(data).digest())
                    draft.write(data)
                    draft.close()
                    Path(draft.name).replace(file)
                except OSError:
                    Path(draft.name).unlink()
                    raise
            self._evict()
        except OSError as error:
            _log.warning("%s cannot be written (%s): every start compiles anew", file, error)

    def _file(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._model}\n{key}".encode()).hexdigest()
        return self.folder / f"{name[:32]}.compiled"

    def _evict(self) -> None:
        # Temporary files too: a process that is killed while it writes leaves one behind.
        files = [*self.folder.glob("*.compiled"), *self.folder.glob("*.tmp")]
        ages = [(file.stat().st_mtime, file) for file in files if file.exists()]
        for _, file in sorted(ages, reverse=True)[_MAX_FILES:]:
            file.unlink(missing_ok=True)
