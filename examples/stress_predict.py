"""Submit N photographs at once; fail if a result is lost; save the annotated pictures.
python examples/stress_predict.py photo.jpg another.jpg --count 300 --save annotated/
"""

import argparse
import asyncio
import time
from pathlib import Path

from sightline.client import AsyncClient


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--save", type=Path, default=Path("annotated"))
    options = parser.parse_args()
    options.save.mkdir(parents=True, exist_ok=True)
    photos = (options.photos * options.count)[: options.count]
    async with AsyncClient(options.url, patience=600) as client:
        started = time.perf_counter()
        tasks = await asyncio.gather(*(client.submit(path) for path in photos))
        results = await asyncio.gather(*(task.wait() for task in tasks))
        took = time.perf_counter() - started
        found = [sorted(one.label for one in result.detections) for (result,) in results]
        for index, path in enumerate(photos[: len(options.photos)]):
            same = found[index :: len(options.photos)]
            assert same == same[:1] * len(same), f"{path.stem}: {same}"
            print(f"{path.stem}: {', '.join(same[0]) or 'nothing'}")
        print(f"{len(found)} in {took:.1f} s, {len(found) / took:.1f}/s, none lost")
        drawn = await asyncio.gather(*(task.annotated(0) for task in tasks))
    for index, (path, jpeg) in enumerate(zip(photos, drawn, strict=True)):
        (options.save / f"{index:04}-{path.stem}.jpg").write_bytes(jpeg)


if __name__ == "__main__":
    asyncio.run(main())
