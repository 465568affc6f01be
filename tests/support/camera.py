"""A video for Chromium's fake camera, whose frames carry their numbers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sightline.demo.moving import MovingScene
from sightline.demo.truth import Truth

WIDTH, HEIGHT = 640, 480
BLOCK = 40  # pixels: a bit of the number, in a strip below the scene, where it hides nothing
BITS = 10
FPS = 30.0  # what Chromium takes every MJPEG file for

# What the page shows in one moment: the number that is written in the picture, and the boxes.
LOOK = f"""() => {{
  const canvas = document.querySelector('#camera canvas');
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext('2d', {{ willReadFrequently: true }});
  context.drawImage(canvas, 0, 0);
  let number = 0;
  for (let bit = 0; bit < {BITS}; bit += 1) {{
    const x = {BLOCK} * bit + {BLOCK // 2};
    const [red] = context.getImageData(x, canvas.height - {BLOCK // 2}, 1, 1).data;
    if (red > 127) number += 2 ** bit;
  }}
  const boxes = [...document.querySelectorAll('#camera .box')].map((box) => {{
    const at = (name) => Number(box.querySelector('rect').getAttribute(name));
    const [x, y] = [at('x'), at('y')];
    return [Number(box.dataset.class), x, y, x + at('width'), y + at('height')];
  }});
  return {{ number, boxes, width: canvas.width, height: canvas.height }};
}}"""


def write_video(path: Path, seed: int, count: int) -> list[Truth]:
    """Write `count` frames of 640 × 480 as MJPEG; the truth of each."""
    truths = []
    with path.open("wb") as file:
        scene = MovingScene(seed, WIDTH, HEIGHT - BLOCK, FPS)
        for number, moment in enumerate(scene.frames(count), start=1):
            strip = np.zeros((BLOCK, WIDTH, 3), np.uint8)
            for bit in range(BITS):
                if number >> bit & 1:
                    strip[:, bit * BLOCK : (bit + 1) * BLOCK] = 255
            frame = np.vstack([moment.image, strip])
            done, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 92])
            assert done
            file.write(jpeg.tobytes())
            truths.append(moment.truth)
    return truths
