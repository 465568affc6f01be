"""Pictures named on the command line: files, folders, globs, addresses."""

from __future__ import annotations

from sightline.client.paths import expand as expand_path


def expand(sources: list[str]) -> list[str]:
    """Paths and addresses of all pictures that `sources` name, in order, without duplicates.

    Raises:
        ConfigError: a folder or glob without pictures, or a name that is not a valid path.
    """
    from sightline.net.fetch import is_url

    names: list[str] = []
    for source in sources:
        names += [source] if is_url(source) else expand_path(source)
    return list(dict.fromkeys(names))
