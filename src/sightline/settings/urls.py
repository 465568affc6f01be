"""Options of pictures that are fetched by their address."""

from __future__ import annotations

from pydantic import BaseModel, Field

from sightline.settings.types import CommaSeparated


class UrlSettings(BaseModel):
    """Pictures by address."""

    url_timeout: float = Field(
        default=5,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that fetching a picture by its address may take, all in all.",
    )
    url_allow: str = Field(
        default="",
        description="Hosts that pictures may be fetched from though they are not on the public "
        "internet, or on other ports than 80 and 443: `host`, `address` or `network/prefix`, each "
        "with `:port` for that port alone, comma-separated; IPv6 in brackets before a port.",
    )
    url_prefixes: CommaSeparated = Field(
        default=(),
        description="Where tasks may take pictures from besides http(s), comma-separated: "
        "`s3://bucket/folder/`, `gs://…`, `az://…`, `file:///folder/`. None if not set.",
    )
