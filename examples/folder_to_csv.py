"""Write all boxes in all pictures of a folder as CSV, each picture when it is done.

python examples/folder_to_csv.py photos/ [http://127.0.0.1:8000] > boxes.csv
"""

import csv
import sys

from sightline.client import Client


def main(folder: str, url: str = "http://127.0.0.1:8000") -> int:
    rows = csv.writer(sys.stdout)
    rows.writerow(["picture", "label", "confidence", "x1", "y1", "x2", "y2"])
    failed = 0
    with Client(url) as client:
        for result in client.submit(folder).results():
            if result.error:
                failed += 1
                print(f"{result.source}: {result.error}", file=sys.stderr)
                continue
            for found in result.detections:
                corners = [f"{corner:.1f}" for corner in found.bbox]
                rows.writerow([result.source, found.label, f"{found.confidence:.3f}", *corners])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]) if sys.argv[1:] else __doc__)
