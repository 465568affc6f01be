"""Where settings come from, and how what is wrong with one is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_settings import TomlConfigSettingsSource

from sightline.errors import ConfigError
from sightline.settings.types import split_names

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class TomlFile(TomlConfigSettingsSource):
    """sightline.toml, in which no key lies open."""

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        for name in ("api_keys", "admin_key"):
            for entry in split_names(str(values.get(name, ""))):
                if "sha256:" not in entry:
                    raise ConfigError(
                        f"option '{name}' in sightline.toml holds a key in the open; put there "
                        "what `sightline key` prints, or the key itself into the environment"
                    )
        return values


def explain(problem: ErrorDetails) -> str:
    name = str(problem["loc"][0]).removeprefix("SIGHTLINE_").lower() if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        return f"unknown option '{name}' in sightline.toml"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"option '{name}': {message}, not {problem['input']!r}"
