"""Options of tasks: their database, their room, their callbacks."""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr

from sightline.settings.types import Seconds


class TaskSettings(BaseModel):
    """Tasks and callbacks."""

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
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="What callbacks are signed with: `whsec_` and 24 to 64 bytes in Base64; made "
        "at the first start, and kept in the data folder, if not set.",
    )
