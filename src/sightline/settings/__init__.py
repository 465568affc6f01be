"""Every option once: its name, default, unit and help, in the group of its concern.

Flags of `sightline serve` win over `SIGHTLINE_*` in the environment, which win over
`sightline.toml` in the working directory. docs/reference/settings.md is generated from here.
"""

from __future__ import annotations

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sightline.errors import ConfigError
from sightline.settings.access import AccessSettings
from sightline.settings.data import DataSettings
from sightline.settings.logs import LogSettings
from sightline.settings.model import EngineName, ModelSettings
from sightline.settings.pictures import PictureSettings
from sightline.settings.queue import QueueSettings
from sightline.settings.server import ServerSettings
from sightline.settings.sources import TomlFile, explain
from sightline.settings.tasks import TaskSettings
from sightline.settings.urls import UrlSettings

__all__ = ["GROUPS", "EngineName", "Settings", "load_settings"]


class Settings(
    ServerSettings,
    ModelSettings,
    QueueSettings,
    PictureSettings,
    UrlSettings,
    AccessSettings,
    TaskSettings,
    DataSettings,
    LogSettings,
    BaseSettings,
):
    """The service's options. Units are in the names or the help."""

    model_config = SettingsConfigDict(
        env_prefix="SIGHTLINE_",
        toml_file="sightline.toml",
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlFile(settings_cls)


GROUPS = tuple(
    base
    for base in Settings.__bases__
    if issubclass(base, BaseModel) and not issubclass(base, BaseSettings)
)
"""The groups of options, in the order of the page in docs/reference."""


def load_settings(**flags: object) -> Settings:
    """Settings from `flags` (None means "not given"), the environment and sightline.toml.

    Raises:
        ConfigError: an option is unknown or out of its range; the message names each.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic validates them
    except ValidationError as error:
        raise ConfigError("; ".join(explain(problem) for problem in error.errors())) from None
    except ValueError as error:
        raise ConfigError(f"sightline.toml cannot be read: {error}") from None
