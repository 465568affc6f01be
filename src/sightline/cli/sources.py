"""What people name on the command line as pictures: files, folders, globs, addresses."""

from __future__ import annotations

from sightline.client.paths import expand as expand_path


def expand(sources: list[str]) -> list[str]:
    """Every picture that `sources` name, in order, each once.

    Raises:
        ConfigError: there are none in a folder or glob, or a name can be no path.
    """
    from sightline.net.fetch import is_url

    names: list[str] = []
    for source in sources:
        names += [source] if is_url(source) else expand_path(source)
    return list(dict.fromkeys(names))
