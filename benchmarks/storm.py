"""What a storm costs: pictures answered a second with 200 clients at once, next to 8.

    .venv/bin/python benchmarks/storm.py

One service with a short limit on waiting; rounds of 8 clients, of 200 that ask again at once when
they are refused, and of 200 that heed Retry-After take turns. Clients and service share the
machine: the CPU that each takes is told.
"""

from __future__ import annotations

import argparse
import os
import time
from io import BytesIO
from pathlib import Path
from statistics import median

import httpx
from PIL import Image

from crowd import SHARED, service
from sightline.bench.load import run
from sightline.bench.plan import BenchImage, Plan, parse_target
from sightline.bench.record import RequestRecord

MAX_WAIT = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "yolov8n.onnx")
    parser.add_argument("--image", type=Path, default=SHARED / "photos" / "street.jpg")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    picture = BenchImage("street.jpg", of_1280_by_720(options.image))
    kinds = {
        "8 clients": (8, True),
        f"{options.clients}, at once again": (options.clients, False),
        f"{options.clients}, heeding Retry-After": (options.clients, True),
    }
    found: dict[str, list[RequestRecord]] = {name: [] for name in kinds}
    used: dict[str, list[float]] = {name: [] for name in kinds}
    after: list[float] = []
    os.environ["SIGHTLINE_MAX_WAIT"] = str(MAX_WAIT)
    with service(options.model) as url, httpx.Client(base_url=url, timeout=60) as client:
        target = parse_target(url)
        for _ in range(options.rounds):
            for name, (clients, wait) in kinds.items():
                plan = Plan(
                    target, (picture,), clients, options.seconds, wait=wait, warm_up=3, timeout=60
                )
                before = cpu_of_the_service()
                found[name].append(run(plan)[0])
                used[name].append((cpu_of_the_service() - before) / (options.seconds + 3))
                started = time.perf_counter()
                client.post("/detect", content=picture.data).raise_for_status()
                after.append(time.perf_counter() - started)
                time.sleep(1)
    report(found, used)
    print(
        f"\nThe first request after each round: {', '.join(f'{1000 * s:.0f}' for s in after)} ms."
    )


def of_1280_by_720(path: Path) -> bytes:
    """The middle of a photograph, as a JPEG of that size."""
    photo = Image.open(path).convert("RGB")
    width = min(photo.width, photo.height * 16 // 9)
    left, top = (photo.width - width) // 2, (photo.height - width * 9 // 16) // 2
    box = (left, top, left + width, top + width * 9 // 16)
    file = BytesIO()
    photo.crop(box).resize((1280, 720)).save(file, "JPEG", quality=90)
    return file.getvalue()


def cpu_of_the_service() -> float:
    """Seconds of CPU that the one child of this process has taken."""
    (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(found: dict[str, list[RequestRecord]], used: dict[str, list[float]]) -> None:
    peak = median(rate_of(record) for record in next(iter(found.values())))
    print(
        "| clients | answered/s | of the peak | refused/s | other | slowest answer, refusal "
        "| cores: service, clients |\n|---|---|---|---|---|---|---|"
    )
    for name, records in found.items():
        ok = median(map(rate_of, records))
        refused = median(record_count(record, 503) / record.sending for record in records)
        other = sum(len(record.ended) - record.ok - record_count(record, 503) for record in records)
        slowest = [
            max(took_by(record, status), default=0) for status in (200, 503) for record in records
        ]
        half = len(records)
        cpu = median(record.cpu / record.sending for record in records)
        print(
            f"| {name} | {ok:.1f} | {ok / peak:.2f} | {refused:.0f} | {other} "
            f"| {max(slowest[:half]):.1f} s, {max(slowest[half:]):.1f} s "
            f"| {median(used[name]):.2f}, {cpu:.2f} |"
        )


def rate_of(record: RequestRecord) -> float:
    """Answers with 200 a second."""
    return sum(end <= record.sending for end in ends_by(record, 200)) / record.sending


def ends_by(record: RequestRecord, status: int) -> list[float]:
    wanted = {index for outcome, index in record.kinds.items() if outcome.status == status}
    return [end for end, kind in zip(record.ended, record.outcomes, strict=True) if kind in wanted]


def took_by(record: RequestRecord, status: int) -> list[float]:
    wanted = {index for outcome, index in record.kinds.items() if outcome.status == status}
    return [took for took, kind in zip(record.took, record.outcomes, strict=True) if kind in wanted]


def record_count(record: RequestRecord, status: int) -> int:
    return len(ends_by(record, status))


if __name__ == "__main__":
    main()
