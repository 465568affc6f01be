"""The answer for a picture: as a dict for JSON (`POST /detect`, tasks), or drawn, as JPEG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sightline.vision.draw import draw_detections, encode_jpeg

if TYPE_CHECKING:
    from sightline.serving.detector import Detector
    from sightline.serving.job import InferenceResult


def to_answer(detector: Detector, result: InferenceResult) -> dict[str, Any]:
    """The answer for a result of `detector`, ready for JSON."""
    found, timing = result.detections, result.timing
    inference_ms = round(timing.inference_ms, 2)
    return {
        "model": detector.spec.name,
        "digest": detector.digest,
        "image": {"width": found.width, "height": found.height},
        "count": len(found),
        "detections": found.to_dicts(),
        "inference_time_ms": inference_ms,
        "fps": round(1000 / max(inference_ms, 0.01), 1),
        "timing": {
            "queue_ms": round(timing.queue_ms, 2),
            "decode_ms": round(timing.decode_ms, 2),
            "inference_ms": inference_ms,
            "postprocess_ms": round(timing.postprocess_ms, 2),
            "total_ms": round(timing.total_ms, 2),
        },
    }


def annotate(result: InferenceResult) -> bytes:
    """The picture with its boxes drawn, as JPEG. The result must contain the picture."""
    if result.image is None:
        raise RuntimeError("the detector was not asked to keep the picture")
    return encode_jpeg(draw_detections(result.image, result.detections))
