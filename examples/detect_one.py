"""Detect objects in one picture and save it with its boxes.

python examples/detect_one.py photo.jpg boxes.jpg [http://127.0.0.1:8000]
"""

import sys

import cv2

from sightline.client import Client


def main(path: str, save: str, url: str = "http://127.0.0.1:8000") -> None:
    image = cv2.imread(path)
    if image is None:
        sys.exit(f"{path} is no picture that OpenCV reads")
    with Client(url) as client:
        answer = client.detect(path, confidence=0.3)
    for found in answer.detections:
        print(f"{found.label} {found.confidence:.2f} {[round(corner) for corner in found.bbox]}")
    cv2.imwrite(save, answer.detections.draw(image))
    print(f"{len(answer.detections)} found by {answer.model} in {answer.timing.total_ms:.0f} ms")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]) if sys.argv[2:] else __doc__)
