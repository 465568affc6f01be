"""What our HTTP service costs beyond HTTP: it, without a network, next to a bare FastAPI handler.

    .venv/bin/python benchmarks/overhead.py

Ours decodes the picture, checks it and answers what a fake engine sees; the handler reads the
upload and answers a constant. Rounds take turns, so that the ratio means something.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

from clients import Load, client, load
from pictures import HD, PHOTO, resized
from sightline.bench.about import About
from sightline.bench.service import serve_command, served

CLIENTS = (1, 8)
BARE = [sys.executable, str(Path(__file__).absolute().parent / "peers" / "bare_fastapi.py")]
OURS = "Sightline, fake engine"
SERVICES = {"bare FastAPI handler": BARE, OURS: serve_command("--engine", "fake")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    picture = resized(options.photo, HD)
    about = About(" ".join(["benchmarks/overhead.py", *sys.argv[1:]]))
    print(f"{about.date}, {about.machine['processor']}, {about.machine['cores']} cores; {client()}")
    print(f"{picture.name} JPEG of {len(picture.data) // 1024} KB, {options.rounds} rounds\n")
    loads: dict[tuple[int, str], list[Load]] = {}
    for _ in range(options.rounds):
        for name, command in SERVICES.items():
            with served(command) as url:
                for clients in CLIENTS:
                    found = load(url, picture, clients, options.seconds)
                    loads.setdefault((clients, name), []).append(found)
    show(loads)


def show(loads: dict[tuple[int, str], list[Load]]) -> None:
    print("| service | clients | ratio | requests/s | p50 | p95 |\n|---|---|---|---|---|---|")
    bare = next(iter(SERVICES))
    for (clients, name), found in sorted(loads.items(), key=lambda entry: entry[0][0]):
        pairs = zip(found, loads[clients, bare], strict=True)
        ratios = [ours.per_s / base.per_s for ours, base in pairs]
        rate, p50, p95 = (median(values) for values in zip(*found, strict=True))
        spread = "" if name == bare else f" ({min(ratios):.2f} to {max(ratios):.2f})"
        row = f"{median(ratios):.2f}{spread} | {rate:.0f} | {p50:.2f} ms | {p95:.2f} ms"
        print(f"| {name} | {clients} | {row} |")


if __name__ == "__main__":
    main()
