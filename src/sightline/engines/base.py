"""The engine interface.

An engine is done when it passes tests/contract/test_engines.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Engine(Protocol):
    """Runs one network on one device.

    Attributes:
        name: `openvino`, `onnxruntime` or `fake`.
        device: the device in use: `cpu`, `gpu`, `cuda:0`, `tensorrt:0`.
        precision: the precision in use: `fp32`, `fp16`, `int8` (its quantised layers, the rest
            in `fp32`).
        max_batch: most images per call, at least 1.
        streams: calls that may run concurrently, at least 1.
    """

    name: str
    device: str
    precision: str
    max_batch: int
    streams: int

    def infer(self, images: NDArray[np.uint8], *, alone: bool = True) -> list[NDArray[np.float32]]:
        """Run the network once. Called by `streams` threads at a time.

        Args:
            images: uint8 [N, height, width, 3] BGR, 1 <= N <= `max_batch`; height and width
                are the spec's input size (any multiple of the stride where it is dynamic).
            alone: no other call is waiting, so this one may use all cores, not only its share.

        Returns:
            The network's outputs in its own order, each float32 [N, ...], owned by the caller.

        Raises:
            InferenceError: the run failed; the engine can still be used.
        """

    def limit_batch(self, max_batch: int) -> None:
        """Lower `max_batch` for all later calls, and free memory that larger batches needed."""

    def close(self) -> None:
        """Free memory and threads. The engine is not used afterwards."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device as named in the settings: `cpu`, `gpu`, `cuda`, `tensorrt:1`."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"
