"""Expansion of files, folders and globs to picture paths."""

from __future__ import annotations

from glob import glob
from pathlib import Path

from sightline.errors import ConfigError

_PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
)


def expand(source: str) -> list[str]:
    """Paths of the pictures that `source` names: a file, a folder (recursively) or a glob.

    A named file is kept even if it does not exist (it is reported later); a folder or glob without
    pictures is an error, because a typing mistake would otherwise look like success.

    Returns:
        Paths, sorted.

    Raises:
        ConfigError: a folder or glob without pictures, or `source` is not a valid path.
    """
    path = _path(source)
    if path.is_file():
        return [source]
    if source and path.is_dir():
        found = sorted(str(p) for p in path.rglob("*") if _is_picture(p))
    elif any(sign in source for sign in "*?["):
        found = _glob(str(path))
    else:
        return [source]
    if not found:
        raise ConfigError(f"there are no pictures in {source}")
    return found


def _path(source: str) -> Path:
    """`source` with `~` expanded.

    Raises:
        ConfigError: it is not a valid path: an unknown user, or too long a name.
    """
    try:
        path = Path(source).expanduser()
        path.is_file()
    except (RuntimeError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"'{source[:80]}' is no path: {reason}") from error
    return path


def _glob(pattern: str) -> list[str]:
    found = glob(pattern, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
    return sorted(name for name in found if Path(name).is_file())


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _PICTURE_SUFFIXES and path.is_file()
