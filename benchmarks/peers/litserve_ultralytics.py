"""The same around LitServe, as its documentation has it: batches of what waits together."""

import io
import socket
import sys

import litserve as ls
from PIL import Image
from ultralytics import YOLO


class DetectAPI(ls.LitAPI):
    def setup(self, device):
        self.model = YOLO(sys.argv[1]).to(device)

    def decode_request(self, request):
        return Image.open(io.BytesIO(request["file"].file.read()))

    def predict(self, images):
        return self.model.predict(images, conf=0.5, verbose=False)

    def unbatch(self, results):
        return list(results)

    def encode_response(self, result):
        boxes = result.boxes
        return {
            "detections": [
                {"label": self.model.names[int(c)], "confidence": float(s), "bbox": box}
                for box, s, c in zip(boxes.xyxy.tolist(), boxes.conf, boxes.cls, strict=True)
            ]
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    api = DetectAPI(max_batch_size=8, batch_timeout=0.01, api_path="/detect")
    ls.LitServer(api).run(host="127.0.0.1", port=free_port(), generate_client_file=False)
