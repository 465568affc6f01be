"""Every option once: its name, default, unit and help.

Flags of `sightline serve` win over `SIGHTLINE_*` in the environment, which win over
`sightline.toml` in the working directory. docs/reference/settings.md is generated from here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sightline.errors import ConfigError
from sightline.settings.sources import Frames, Names, Seconds, TomlFile, explain

EngineName = Literal["auto", "openvino", "onnxruntime", "fake"]

_HOME = Path("~/.sightline")


class Settings(BaseSettings):
    """The service's options. Units are in the names or the help."""

    model_config = SettingsConfigDict(
        env_prefix="SIGHTLINE_",
        toml_file="sightline.toml",
        extra="forbid",
        populate_by_name=True,
        frozen=True,
    )

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
    model: str | None = Field(
        default=None,
        description="Model to serve: a path to an .onnx or OpenVINO .xml file, a name that "
        "`sightline models` lists, or an https:// or hf://owner/repo/file address. Where none is "
        "named: yolox-tiny if it can be had at once, else the bundled demo model.",
    )
    engine: EngineName = Field(
        default="auto", description="auto, openvino, onnxruntime, or fake (for tests)."
    )
    device: str = Field(
        default="auto",
        description="auto, cpu, gpu (Intel, by OpenVINO), cuda, tensorrt; cuda:1 names the second.",
    )
    confidence: float = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Lowest confidence that is reported where a request does not say, 0..1.",
    )
    data_dir: Path = Field(
        default=_HOME,
        description="Folder for what is kept between starts: tasks and their pictures, pulled "
        "models, compiled networks. `:memory:` keeps no tasks; models stay in ~/.sightline.",
    )
    admin_key: SecretStr | None = Field(
        default=None, description="Key for PUT and DELETE /models; without one nobody may."
    )
    models_folder: Path | None = Field(
        default=None, description="Folder whose models PUT /models may load; none if not set."
    )
    max_models_mb: float | None = Field(
        default=None,
        gt=0,
        description="Most MB of weights that stay loaded; the least recently used give way.",
    )
    canary_interval: float = Field(
        default=60,
        gt=0,
        allow_inf_nan=False,
        description="Seconds between checks that each model still answers as at its start.",
    )
    max_upload_mb: float = Field(
        default=10, gt=0, allow_inf_nan=False, description="Largest accepted picture file, in MB."
    )
    max_pixels: int = Field(
        default=50_000_000,
        gt=0,
        description="Most pixels of a picture, read from its header before decoding; half as many "
        "where they have 64 bits (RGBA of 16), and fewer where decoding one would take more than "
        "a third of the memory (17 bytes a pixel).",
    )
    max_wait: float = Field(
        default=10,
        gt=0,
        allow_inf_nan=False,
        description="Longest predicted wait in seconds; beyond it a request is answered 503.",
    )
    max_queue: int = Field(
        default=512, gt=0, description="Most pictures that wait; beyond it a request gets 503."
    )
    max_batch: int | None = Field(
        default=None,
        gt=0,
        description="Most pictures an engine call; measured at a model's first start if not set.",
    )
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

    api_keys: SecretStr | None = Field(
        default=None,
        description="Keys that open the service, comma-separated: `name:key`, or "
        "`name:sha256:…` as `sightline key` makes it, the only form taken from a file. "
        "Without any key everybody may use it.",
    )
    api_keys_file: Path | None = Field(
        default=None, description="File of hashed keys, one `name:sha256:…` a line."
    )
    allowed_hosts: Names = Field(
        default=(),
        description="Names that the service answers to, comma-separated; `*.example.org` takes "
        "every name below. Not set: any, but on a loopback address only local ones.",
    )
    cors_origins: Names = Field(
        default=(),
        description="Web pages of other origins that may use the service, comma-separated: "
        "`https://app.example.org`; `*` for all. None if not set.",
    )
    frame_ancestors: Frames = Field(
        default=(),
        description="Web pages that may show the page in a frame, comma-separated: "
        "`https://huggingface.co`, `https://*.example.org`, `self`, `*`. None if not set.",
    )
    trusted_proxies: Names = Field(
        default=(),
        description="Addresses or networks of proxies whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed, comma-separated.",
    )
    root_path: str = Field(
        default="",
        pattern=r"^(/[\w.~-]+)*$",
        description="Path under which a proxy shows the service, for example `/vision`.",
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
    workers: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Processes that speak HTTP, in front of one that holds the models; 0 does all "
        "in one process. Not for `sightline.asgi:app`.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="Where tasks are kept: postgresql+pg8000://user:password@host/database; a "
        "SQLite file in the data folder if not set.",
    )
    result_ttl: Seconds = Field(
        default=300, description="Seconds that a task's results are kept once it has ended."
    )
    max_backlog_images: int = Field(
        default=10_000, gt=0, description="Most pictures of tasks that wait; beyond it 503."
    )
    max_backlog_mb: float = Field(
        default=4096,
        gt=0,
        allow_inf_nan=False,
        description="Most MB of pictures of tasks that wait; beyond it 503.",
    )
    max_results_mb: float = Field(
        default=2048,
        gt=0,
        allow_inf_nan=False,
        description="Most MB of pictures of tasks that have ended; the oldest are forgotten first.",
    )
    url_prefixes: Names = Field(
        default=(),
        description="Where tasks may take pictures from besides http(s), comma-separated: "
        "`s3://bucket/folder/`, `gs://…`, `az://…`, `file:///folder/`. None if not set.",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="What callbacks are signed with: `whsec_` and 24 to 64 bytes in Base64; made "
        "at the first start, and kept in the data folder, if not set.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="Log lines; auto is text on a terminal, else json."
    )

    @property
    def max_upload_bytes(self) -> int:
        return int(self.max_upload_mb * 2**20)

    @property
    def cache_dir(self) -> Path:
        return self._folder / "engines"

    @property
    def state_file(self) -> Path | None:
        """What is loaded is remembered here; None for a place that remembers nothing."""
        return None if self._in_memory else self._folder / "models.json"

    @property
    def pulled_dir(self) -> Path:
        """Where models from the network are kept."""
        return self._folder / "models"

    @property
    def tasks_dir(self) -> Path | None:
        """Where tasks and their pictures are kept; None for memory."""
        return None if self._in_memory else self._folder / "tasks"

    @property
    def secret_file(self) -> Path | None:
        """Where the secret of webhooks is kept; None for memory."""
        return None if self._in_memory else self._folder / "webhook-secret"

    @property
    def _in_memory(self) -> bool:
        return str(self.data_dir) == ":memory:"

    @property
    def _folder(self) -> Path:
        """Where files go; what can be had again is kept also by a place in memory."""
        return (_HOME if self._in_memory else self.data_dir).expanduser()

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
