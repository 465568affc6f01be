"""Fire N photographs at the service at once, poll all of them, save what it drew.

    python examples/stress_predict.py photo.jpg another.jpg --count 300 --save annotated/

It fails loudly if one is lost, or if copies of one photograph do not all show the same."""

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

import httpx


async def ask(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response:
    """An answer that is no "not now": 429 and 503 say when to come back; nothing was taken."""
    while (answer := await client.request(method, path, **more)).status_code in {429, 503}:
        await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
    return answer.raise_for_status()


async def predict(client: httpx.AsyncClient, name: str, data: bytes, folder: Path) -> list[str]:
    """The labels found in one photograph; its annotated picture goes to `folder`."""
    answer = await ask(client, "POST", "/predict", files={"files": (name, data)})
    where = answer.headers["Location"]
    while (task := (answer := await ask(client, "GET", where)).json())["completed_at"] is None:
        await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
    (result,) = task["results"]
    assert (result["status"], result["filename"]) == ("completed", name), f"{name}: {result}"
    (folder / name).write_bytes((await ask(client, "GET", f"{where}/images/0")).content)
    return sorted(found["label"] for found in result["detections"])


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
        calls = []
        for index in range(options.count):
            stem, data = photos[index % len(photos)]
            calls.append(predict(client, f"{index:04}-{stem}.jpg", data, options.save))
        found = await asyncio.gather(*calls)
    for index, (stem, _) in enumerate(photos[: len(found)]):
        assert all(labels == found[index] for labels in found[index :: len(photos)]), stem
        print(f"{stem}: {', '.join(found[index]) or 'nothing'}")
    print(f"{len(found)} in {time.perf_counter() - started:.1f} s, none lost")


if __name__ == "__main__":
    asyncio.run(main())
