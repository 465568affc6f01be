"""Fire N photographs at the service at once, wait for all of them, save what it drew.

    python examples/stress_predict.py photo.jpg another.jpg --count 300 --save annotated/

It fails loudly if one is lost, or if copies of one photograph do not all show the same."""

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

import httpx

AT_ONCE = asyncio.Semaphore(16)  # requests: a client that opens hundreds only gets in its own way


async def ask(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response:
    """An answer that is no "not now": 429 and 503 say when to come back; nothing was taken."""
    while True:
        async with AT_ONCE:
            answer = await client.request(method, path, **more)
        if answer.status_code not in {429, 503}:
            return answer.raise_for_status()
        await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))


async def predict(client: httpx.AsyncClient, name: str, data: bytes) -> tuple[str, list[str]]:
    """Where the task of one photograph is, and the labels found in it."""
    answer = await ask(client, "POST", "/predict", files={"files": (name, data)})
    where, task = answer.headers["Location"], answer.json()
    while task["status"] in {"queued", "processing"}:  # each call waits up to 20 s for news
        task = (await ask(client, "GET", where, params={"wait": 20})).json()
    (result,) = task["results"]
    assert (result["status"], result["filename"]) == ("completed", name), f"{name}: {result}"
    return where, sorted(found["label"] for found in result["detections"])


async def save(client: httpx.AsyncClient, where: str, path: Path) -> None:
    path.write_bytes((await ask(client, "GET", f"{where}/images/0")).content)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--save", type=Path, default=Path("annotated"))
    options = parser.parse_args()
    options.save.mkdir(parents=True, exist_ok=True)
    photos = [(path.stem, path.read_bytes()) for path in options.photos]
    started = time.perf_counter()
    patience = httpx.Timeout(60, pool=None)  # for the service; for our own connections, for ever
    async with httpx.AsyncClient(base_url=options.url, timeout=patience) as client:
        chosen = [photos[index % len(photos)] for index in range(options.count)]
        names = [f"{index:04}-{stem}.jpg" for index, (stem, _) in enumerate(chosen)]
        calls = [predict(client, name, data) for name, (_, data) in zip(names, chosen, strict=True)]
        found = await asyncio.gather(*calls)
        took = time.perf_counter() - started
        for index, (stem, _) in enumerate(photos[: len(found)]):
            same = found[index :: len(photos)]
            assert all(labels == same[0][1] for _, labels in same), f"{stem}: {same}"
            print(f"{stem}: {', '.join(same[0][1]) or 'nothing'}")
        print(f"{len(found)} in {took:.1f} s, {len(found) / took:.1f}/s, none lost")
        paths = [options.save / name for name in names]
        pairs = zip(found, paths, strict=True)
        await asyncio.gather(*(save(client, where, path) for (where, _), path in pairs))
    print(f"drawn and saved after {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    asyncio.run(main())
