"""Detect objects in each frame of a camera or video file. Ctrl-C ends it.

python examples/webcam.py 0 [annotated.mp4] [http://127.0.0.1:8000]
"""

import sys
import time
from collections import Counter

import cv2

from sightline.client import Client


def main(source: str, save: str = "", url: str = "http://127.0.0.1:8000") -> None:
    camera = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not camera.isOpened():
        sys.exit(f"there is no camera or video '{source}'")
    size = [int(camera.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
    rate = camera.get(cv2.CAP_PROP_FPS) or 30
    video = cv2.VideoWriter(save, cv2.VideoWriter.fourcc(*"mp4v"), rate, size) if save else None
    with Client(url) as client:
        while camera.grab():
            began = time.perf_counter()
            frame = camera.retrieve()[1]
            jpeg = cv2.imencode(".jpg", frame)[1].tobytes()  # an array would be sent as PNG: slower
            found = client.detect(jpeg).detections
            counts = Counter(one.label for one in found)
            seen = ", ".join(f"{count} {label}" for label, count in counts.items()) or "nothing"
            print(f"{1 / (time.perf_counter() - began):5.1f}/s  {seen}", flush=True)
            if video:
                video.write(found.draw(frame))
    if video:
        video.release()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]) if sys.argv[1:] else __doc__)
