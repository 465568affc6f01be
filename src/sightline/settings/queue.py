"""Options of the queue in front of an engine."""

from __future__ import annotations

from pydantic import BaseModel, Field


class QueueSettings(BaseModel):
    """Queue of the detector."""

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
