"""Measure this machine: our service, our detector without HTTP, and what others would write.

    make bench                               our engines side by side
    make bench-peers                         next to FastAPI and LitServe around Ultralytics

All in one run, one service at a time, rounds interleaved, so that the ratios mean something. What
it prints can be pasted into benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from math import isnan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TextIO

from clients import Load, client
from contenders import Case, contenders, peer_versions
from pictures import HD, PHOTO, SHARED, UHD, resized
from sightline.bench.about import About
from sightline.bench.plan import BenchImage, read_pictures

if TYPE_CHECKING:
    from memory import Memory

Loads = dict[tuple[Case, str], list[Load]]
"""Of each case and contender, a round each."""


def main() -> None:
    options = parse()
    pictures = [resized(options.photo, size) for size in (HD, UHD)]
    pictures += read_pictures(options.image)
    rows = list(contenders(options))
    limits = {row.name: row.limit for row in rows}
    loads: Loads = {}
    memories: dict[str, list[Memory]] = {}
    for number in range(1, options.rounds + 1):
        for row in rows:
            print(f"round {number} of {options.rounds}: {row.name}", file=sys.stderr, flush=True)
            found, memory = row.measure(pictures, options.seconds)
            for case, figures in found.items():
                loads.setdefault((case, row.name), []).append(figures)
            if memory is not None:
                memories.setdefault(row.name, []).append(memory)
    about = About(shlex.join(["benchmarks/bench.py", *sys.argv[1:]]))
    tell_about(options, about, pictures)
    tell_rates(loads, limits)
    tell_memory(memories)
    if options.json:
        write(options.json, about, loads, memories)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "yolov8n.onnx")
    parser.add_argument("--int8", type=Path, help="the same model in INT8, an OpenVINO .xml")
    parser.add_argument(
        "--photo", type=Path, default=PHOTO, help="made into 1280×720 and 3840×2160"
    )
    parser.add_argument("--image", type=Path, action="append", default=[], help="posted as it is")
    parser.add_argument("--seconds", type=float, default=5, help="of each figure in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", type=Path, help="interpreter that has the peers")
    parser.add_argument("--peer-model", type=Path, default=SHARED / "models" / "yolov8n.pt")
    parser.add_argument("--json", type=argparse.FileType("w"), help="write all figures there")
    return parser.parse_args()


def tell_about(options: argparse.Namespace, about: About, pictures: list[BenchImage]) -> None:
    machine = about.machine
    installed = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    peers = peer_versions(options)
    shown = ", ".join(f"{picture.name} ({len(picture.data) // 1024} KB)" for picture in pictures)
    print(f"`{about.command}` on {about.date}.")
    print(f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, ", end="")
    print(f"{machine['system']}; {installed}{f'; peers: {peers}' if peers else ''}.")
    print(f"{options.model.name}, JPEGs: {shown}. Medians of {options.rounds} rounds of ", end="")
    print(f"{options.seconds:g} s, in brackets the range of the rounds; load: {client()}.\n")


def tell_rates(loads: Loads, limits: dict[str, str]) -> None:
    first = next(iter(limits))
    print(f"| picture | clients | service | to {first} | to in process | images/s | p50 | p95 |")
    print("|---|---|---|---|---|---|---|---|")
    for (picture, clients), name in sorted(loads, key=lambda key: (key[0][0], key[0][1])):
        found = loads[(picture, clients), name]
        rate, p50, p95 = (median(values) for values in zip(*found, strict=True))
        cells = [
            ratio(found, loads[(picture, clients), first]),
            ratio(found, loads.get(((picture, clients), limits[name]), [])),
            f"{rate:.1f}",
            *("" if isnan(ms) else f"{ms:.0f} ms" for ms in (p50, p95)),
        ]
        print(f"| {picture} | {clients} | {name} | {' | '.join(cells)} |")
    print()


def ratio(found: list[Load], base: list[Load]) -> str:
    """Of rates, round by round: what slows a round slows both. "" without a base."""
    if not base or found is base:
        return "1.00" if base else ""
    ratios = [one.per_s / other.per_s for one, other in zip(found, base, strict=True)]
    return f"**{median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f})"  # noqa: RUF001  a range


def tell_memory(memories: dict[str, list[Memory]]) -> None:
    print("| service | memory at its peak | after the load | its own share of it |")
    print("|---|---|---|---|")
    for name, found in memories.items():
        cells = (f"{median(values):.0f} MB" for values in zip(*found, strict=True))
        print(f"| {name} | {' | '.join(cells)} |")


def write(file: TextIO, about: About, loads: Loads, memories: dict[str, list[Memory]]) -> None:
    figures: list[dict[str, Any]] = [
        {"picture": picture, "clients": clients, "service": name}
        | {"rounds": [_told(load) for load in found]}
        for ((picture, clients), name), found in loads.items()
    ]
    memory = {name: [one._asdict() for one in found] for name, found in memories.items()}
    told = {"about": asdict(about), "client": client(), "figures": figures, "memory_mb": memory}
    with file:
        json.dump(told, file, ensure_ascii=False, indent=1)
        file.write("\n")


def _told(load: Load) -> dict[str, float | None]:
    return {name: None if isnan(value) else value for name, value in load._asdict().items()}


if __name__ == "__main__":
    main()
