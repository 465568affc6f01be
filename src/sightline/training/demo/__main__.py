"""`python -m sightline.training.demo`: make the scenes, train, write the file."""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path

import sightline
from sightline.training.demo.data import make_examples
from sightline.training.demo.export import export
from sightline.training.demo.train import train

_log = logging.getLogger("sightline")
_BUNDLED = Path(sightline.__file__).parent / "models" / "bundled" / "demo.onnx"


def main() -> None:
    """Train the demo model from scratch."""
    parser = argparse.ArgumentParser(description="Train Sightline's demo model from scratch.")
    parser.add_argument("--out", type=Path, default=_BUNDLED, help="file to write")
    parser.add_argument("--scenes", type=int, default=4000, help="scenes to make and train on")
    parser.add_argument("--epochs", type=int, default=6, help="epochs before the final ones")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    started = time.monotonic()
    examples = []
    for example in make_examples(options.scenes, os.cpu_count() or 1):
        examples.append(example)
        if len(examples) % 1000 == 0:
            _log.info("%d of %d scenes", len(examples), options.scenes)
    export(train(examples, options.epochs), options.out)
    _log.info("%s written after %.0f s", options.out, time.monotonic() - started)


if __name__ == "__main__":
    main()
