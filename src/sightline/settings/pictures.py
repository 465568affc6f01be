"""Options that limit the size of a picture."""

from __future__ import annotations

from pydantic import BaseModel, Field


class PictureSettings(BaseModel):
    """Size of pictures."""

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

    @property
    def max_upload_bytes(self) -> int:
        return int(self.max_upload_mb * 2**20)
