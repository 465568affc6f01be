"""Submit a batch with a progress bar, and retry failed pictures once.

python examples/batch.py photos/ [http://127.0.0.1:8000]
"""

import sys
from collections import Counter

from rich.progress import Progress

from sightline.client import Client


def main(folder: str, url: str = "http://127.0.0.1:8000") -> int:
    with Client(url) as client, Progress() as bar:
        batch = client.submit(folder, priority="low")
        row = bar.add_task("pictures", total=batch.total)
        try:
            results = batch.wait(progress=lambda now: bar.update(row, completed=now.done))
            if any(result.error for result in results):
                batch.retry()
                results = batch.wait()
        except KeyboardInterrupt:
            done = batch.cancel().done
            sys.exit(f"cancelled; {done} of {batch.total} had ended")
    good = [result for result in results if result.status == "completed"]
    counts = Counter(found.label for result in good for found in result.detections)
    for label, count in counts.most_common():
        print(f"{count:6} {label}")
    for result in results:
        if result.error:
            print(f"{result.source}: {result.error}")
    return 0 if len(good) == len(results) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]) if sys.argv[1:] else __doc__)
