"""Options of the log."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class LogSettings(BaseModel):
    """Logs."""

    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="Log lines; auto is text on a terminal, else json."
    )
