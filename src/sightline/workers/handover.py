"""Serialises settings, to hand them from the supervisor to its children."""

from __future__ import annotations

import json

from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sightline.settings import Settings


class _ReceivedSettings(Settings):
    """Settings from another process, without environment or file."""

    model_config = SettingsConfigDict(toml_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def to_json(settings: Settings) -> str:
    """`settings` as JSON on one line, with keys in plain text."""

    def plain(value: object) -> str:
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    return json.dumps(dict(settings), default=plain)


def from_json(text: str) -> Settings:
    """The settings that `to_json` wrote."""
    return _ReceivedSettings(**json.loads(text))
