"""Submit one picture, ask for its result as often as the service likes, print what was found.

python examples/predict_one.py photo.jpg [http://127.0.0.1:8000]
"""

import sys
import time
from pathlib import Path
from typing import Any

import httpx

ENDED = {"completed", "error", "cancelled"}


def poll(client: httpx.Client, where: str) -> dict[str, Any]:
    """The task, once it has ended. 429 and 503 say when to ask again."""
    while True:
        answer = client.get(where)
        if answer.status_code not in {429, 503}:
            task: dict[str, Any] = answer.raise_for_status().json()
            if task["status"] in ENDED:
                return task
            print(f"{task['status']}, {task['progress']['done']} of {task['progress']['total']}")
        time.sleep(float(answer.headers.get("Retry-After", 1)))


def main(path: Path, url: str = "http://127.0.0.1:8000") -> int:
    with httpx.Client(base_url=url, timeout=30) as client:
        answer = client.post("/predict", files={"files": (path.name, path.read_bytes())})
        if answer.is_error:
            sys.exit(f"not accepted: {answer.json()['detail']}")
        task = poll(client, answer.headers["Location"])
    for result in task["results"]:
        if result["status"] != "completed":
            why = result["error"]["detail"] if "error" in result else result["status"]
            print(f"{result['filename']}: {why}")
            continue
        print(f"{result['filename']}: {result['count']} found")
        for found in result["detections"]:
            print(f"  {found['label']} {found['confidence']:.2f} {found['bbox']}")
    return 0 if task["status"] == "completed" else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:3]))
