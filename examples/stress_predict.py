"""Fire N photographs at the service at once, poll all of them, save what it drew.

    python examples/stress_predict.py photo.jpg another.jpg --count 300 --save annotated/

Each is a task of its own. It fails loudly if one is lost, or if a result is not its own picture's:
each has a name of its own, and all copies of one photograph must show the same.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

import httpx

ENDED = {"completed", "error", "cancelled"}


async def ask(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response:
    """An answer that is no "not now": 429 and 503 say when to come back; nothing was taken."""
    while (answer := await client.request(method, path, **more)).status_code in {429, 503}:
        await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
    return answer.raise_for_status()


async def predict(client: httpx.AsyncClient, name: str, data: bytes, folder: Path) -> list[str]:
    """The labels found in one photograph; its annotated picture goes to `folder`."""
    answer = await ask(client, "POST", "/predict", files={"files": (name, data)})
    where = answer.headers["Location"]
    while (task := (answer := await ask(client, "GET", where)).json())["status"] not in ENDED:
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
    fired = [photos[index % len(photos)] for index in range(options.count)]
    started = time.perf_counter()
    patience = httpx.Timeout(60, pool=None)  # for the service; for our own connections, for ever
    async with httpx.AsyncClient(base_url=options.url, timeout=patience) as client:
        calls = (
            predict(client, f"{index:04}-{stem}.jpg", data, options.save)
            for index, (stem, data) in enumerate(fired)
        )
        found = await asyncio.gather(*calls)
    seconds = time.perf_counter() - started
    for index, (stem, _) in enumerate(photos[: len(found)]):
        assert all(labels == found[index] for labels in found[index :: len(photos)]), stem
        print(f"{stem}: {', '.join(found[index]) or 'nothing'}")
    print(f"{len(found)} in {seconds:.1f} s, {len(found) / seconds:.1f} a second, none lost")


if __name__ == "__main__":
    asyncio.run(main())
