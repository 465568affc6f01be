"""The pictures that are posted: made from one photograph, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import cv2

from sightline.bench.plan import BenchImage

SHARED = Path(__file__).resolve().parents[2] / "shared"
PHOTO = SHARED / "photos" / "street.jpg"
HD, UHD = (1280, 720), (3840, 2160)
_QUALITY = 90


def resized(photo: Path, size: tuple[int, int]) -> BenchImage:
    """The middle of `photo` at `size` (width, height), as JPEG.

    A small photograph is enlarged: it costs a decoder what its pixels cost, though it compresses
    better than a camera's own picture of that size.
    """
    image = cv2.imread(str(photo))
    if image is None:
        raise SystemExit(f"{photo} cannot be read: name a photograph with --photo")
    height, width = image.shape[:2]
    scale = min(width / size[0], height / size[1])
    wide, high = round(size[0] * scale), round(size[1] * scale)
    left, top = (width - wide) // 2, (height - high) // 2
    cropped = image[top : top + high, left : left + wide]
    shrinks = scale > 1
    scaled = cv2.resize(cropped, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    _, data = cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return BenchImage(f"{size[0]}×{size[1]}", data.tobytes())
