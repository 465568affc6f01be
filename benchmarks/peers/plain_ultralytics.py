"""The service that most people write first: FastAPI around `model.predict`."""

import io
import sys

import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from ultralytics import YOLO

app = FastAPI()
model = YOLO(sys.argv[1])


@app.post("/detect")
def detect(file: UploadFile) -> dict:
    image = Image.open(io.BytesIO(file.file.read()))
    (result,) = model.predict(image, conf=0.5, verbose=False)
    boxes = result.boxes
    return {
        "detections": [
            {"label": model.names[int(c)], "confidence": float(s), "bbox": box}
            for box, s, c in zip(boxes.xyxy.tolist(), boxes.conf, boxes.cls, strict=True)
        ]
    }


if __name__ == "__main__":
    uvicorn.run(app, port=0)
