"""Options of access: keys, hosts, origins, proxies, rates."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr

from sightline.settings.types import CommaSeparated, FrameAncestors


class AccessSettings(BaseModel):
    """Access and limits."""

    api_keys: SecretStr | None = Field(
        default=None,
        description="Keys that open the service, comma-separated: `name:key`, or "
        "`name:sha256:…` as `sightline key` makes it, the only form taken from a file. "
        "Without any key everybody may use it.",
    )
    api_keys_file: Path | None = Field(
        default=None, description="File of hashed keys, one `name:sha256:…` a line."
    )
    admin_key: SecretStr | None = Field(
        default=None, description="Key for PUT and DELETE /models; without one nobody may."
    )
    rate_limit: str | None = Field(
        default=None,
        description="Most requests of one key, or of one address without keys: a number a second, "
        "or `100/minute`, `5/second;1000/hour`. Not limited if not set.",
    )
    max_concurrent: int | None = Field(
        default=None,
        gt=0,
        description="Most requests of one key or address that are under way at once.",
    )
    allowed_hosts: CommaSeparated = Field(
        default=(),
        description="Names that the service answers to, comma-separated; `*.example.org` takes "
        "every name below. Not set: any, but on a loopback address only local ones.",
    )
    trusted_proxies: CommaSeparated = Field(
        default=(),
        description="Addresses or networks of proxies whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed, comma-separated.",
    )
    cors_origins: CommaSeparated = Field(
        default=(),
        description="Web pages of other origins that may use the service, comma-separated: "
        "`https://app.example.org`; `*` for all. None if not set.",
    )
    frame_ancestors: FrameAncestors = Field(
        default=(),
        description="Web pages that may show the page in a frame, comma-separated: "
        "`https://huggingface.co`, `https://*.example.org`, `self`, `*`. None if not set.",
    )
