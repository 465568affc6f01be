"""Submit one picture, print its progress, then its detections.

python examples/predict_one.py photo.jpg [http://127.0.0.1:8000]
"""

import sys

from sightline.client import Client, Problem, Progress


def show(now: Progress) -> None:
    if now.done < now.total:
        print(f"{now.status}, {now.done} of {now.total}")


def main(path: str, url: str = "http://127.0.0.1:8000") -> int:
    with Client(url) as client:
        try:
            task = client.submit(path)
        except Problem as problem:
            sys.exit(f"not accepted: {problem}")
        (result,) = task.wait(progress=show)
    if result.status != "completed":
        print(f"{result.filename}: {result.error or result.status}")
        return 1
    print(f"{result.filename}: {len(result.detections)} found")
    for found in result.detections:
        print(f"  {found.label} {found.confidence:.2f} {found.bbox}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]) if sys.argv[1:] else __doc__)
