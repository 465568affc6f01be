"""What engines compile, kept on disk so that the next start is quick."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

_KEPT = 20  # files of a cache; the least recently used go
_DIGEST_BYTES = hashlib.sha256().digest_size
_log = logging.getLogger("sightline")


class EngineCache:
    """Compiled networks of one model, in a folder that all models share.

    A file is the SHA-256 of what follows, and what an engine compiled: an engine that reads what
    a bad disk or a kill left of one may answer nonsense. What cannot be read or written costs a
    compilation, and nothing else.
    """

    def __init__(self, folder: str | os.PathLike[str], model: str) -> None:
        """A cache in `folder`, made when needed, for the model with the digest `model`."""
        self.folder = Path(folder).expanduser()
        self._model = model

    def load(self, key: str) -> bytes | None:
        """What was stored under `key` (which names all that it depends on), if it is whole."""
        file = self._file(key)
        try:
            kept = file.read_bytes()
            os.utime(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("%s cannot be read (%s): the model is compiled again", file, error)
            return None
        data = kept[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != kept[:_DIGEST_BYTES]:
            _log.warning("%s is damaged: the model is compiled again", file)
            return None
        return data

    def store(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`."""
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
            self._forget_the_oldest()
        except OSError as error:
            _log.warning("%s cannot be written (%s): every start compiles anew", file, error)

    def _file(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._model}\n{key}".encode()).hexdigest()
        return self.folder / f"{name[:32]}.compiled"

    def _forget_the_oldest(self) -> None:
        # A draft is as old as the process that was killed while it wrote it.
        files = [*self.folder.glob("*.compiled"), *self.folder.glob("*.tmp")]
        ages = [(file.stat().st_mtime, file) for file in files if file.exists()]
        for _, file in sorted(ages, reverse=True)[_KEPT:]:
            file.unlink(missing_ok=True)
