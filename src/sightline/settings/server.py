"""Options of the server: its address, its processes, the timeouts of its connections."""

from __future__ import annotations

from pydantic import AliasChoices, BaseModel, Field

from sightline.settings.types import Seconds


class ServerSettings(BaseModel):
    """Server and connections."""

    host: str = Field(
        default="127.0.0.1", description="Address to listen on; 0.0.0.0 opens it to the network."
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("SIGHTLINE_PORT", "PORT", "port"),
        description="Port to listen on; 0 picks a free one. PORT is honoured too.",
    )
    root_path: str = Field(
        default="",
        pattern=r"^(/[\w.~-]+)*$",
        description="Path under which a proxy shows the service, for example `/vision`.",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Processes that speak HTTP, in front of one that holds the models; 0 does all "
        "in one process. Not for `sightline.asgi:app`.",
    )
    head_timeout: Seconds = Field(
        default=10, description="Seconds in which a request's head must be there."
    )
    idle_timeout: Seconds = Field(
        default=10,
        description="Seconds a client may stop in the middle of a body, or not read its answer.",
    )
    body_timeout: Seconds = Field(
        default=120,
        description="Seconds in which a request's body must be there, or its answer be read.",
    )
    request_timeout: Seconds = Field(
        default=60,
        description="Seconds from a whole request to its answer; then 504. Clients ask for less "
        "with X-Timeout-Ms.",
    )
