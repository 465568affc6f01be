"""The JSON of models, as OpenAPI shows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from sightline.backend.messages import ModelInfo

Size = Annotated[
    tuple[int, int],
    # What generators of clients understand: the keyword for tuples is newer than many of them.
    WithJsonSchema({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
]


_MODEL: dict[str, Any] = {
    "name": "yolox-tiny",
    "default": True,
    "loaded": True,
    "digest": "sha256:427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
    "family": "yolox",
    "labels": ["person", "bicycle", "car"],
    "input_size": [416, 416],
    "device": "cpu",
    "engine": "openvino",
    "precision": "fp32",
}


class ModelSource(BaseModel):
    """Where a model comes from."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        min_length=1,
        max_length=2000,
        description="A path inside SIGHTLINE_MODELS_FOLDER, or an address.",
        examples=["/models/parts-v2.onnx", "hf://owner/repository/file.onnx"],
    )


class ModelOut(BaseModel):
    """A model, and what it runs on while it is loaded."""

    model_config = ConfigDict(json_schema_extra={"examples": [_MODEL]})

    name: str
    default: bool
    loaded: bool
    digest: str | None = None
    family: str | None = None
    labels: list[str] | None = None
    input_size: Size | None = Field(default=None, description="height, width")
    device: str | None = None
    engine: str | None = None
    precision: str | None = None

    @classmethod
    def of(cls, model: ModelInfo) -> ModelOut:
        """A model as the backend tells it."""
        return cls(**asdict(model))


class ModelList(BaseModel):
    """All models, the default first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"models": [_MODEL]}]})

    models: list[ModelOut]
