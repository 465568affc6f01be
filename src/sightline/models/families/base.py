"""What a family must say, and what several of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sightline.models.graph import TensorInfo

MAX_QUERIES = 1000
"""Networks that suppress duplicates themselves answer with at most so many rows."""

# The sets of strides that detectors of these families are built with (plain, P6, P2, tiny).
_STRIDE_SETS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of a network before it runs.

    Attributes:
        outputs: with the shapes they have at `input_size`.
        input_size: (height, width) in pixels.
        labels: how many class names the file carries; None if it carries none.
        metadata: as in `models.graph.Graph`.
        stride_sets: the strides that its grids may have.
    """

    outputs: tuple[TensorInfo, ...]
    input_size: tuple[int, int]
    labels: int | None
    metadata: Mapping[str, object]
    stride_sets: tuple[tuple[int, ...], ...] = _STRIDE_SETS

    def __str__(self) -> str:
        return " and ".join(str(output) for output in self.outputs)

    @property
    def anchor_counts(self) -> set[int]:
        """How many places a grid detector of this input size can have."""
        return {grid_cells(self.input_size, strides) for strides in self.stride_sets}

    def only_output(self) -> tuple[int | None, int | None] | None:
        """The last two sizes of the one output [N, a, b]; None if it is not of that form."""
        if len(self.outputs) != 1 or len(self.outputs[0].shape) != 3:
            return None
        return self.outputs[0].shape[1], self.outputs[0].shape[2]

    @property
    def suppresses(self) -> bool:
        """The exporter says that duplicates are suppressed inside the graph."""
        arguments = self.metadata.get("args")
        nms = arguments.get("nms") if isinstance(arguments, dict) else None
        return self.metadata.get("end2end") is True or nms is True


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes of one image as a network means them, before suppression.

    Attributes:
        boxes: float32 [N, 4] xyxy, input pixels.
        scores: float32 [N], 0..1.
        class_ids: int64 [N].
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]


class Family(Protocol):
    """How one family of networks means boxes. Families inherit from it.

    Attributes:
        form: its outputs in words, for error messages.
        overlaps: duplicates come out and NMS must follow.
        iou: its usual NMS threshold.
    """

    form: str
    overlaps: bool
    iou: float

    def recognises(self, outline: Outline) -> bool:
        """Whether these outputs are this family's and nobody else's."""

    def classes(self, outline: Outline) -> int | None:
        """How many classes outputs of these shapes tell of; None if they do not tell.

        Raises:
            ValueError: outputs of these shapes cannot be this family's.
        """

    def preprocessing(self, outline: Outline) -> dict[str, Any]:  # noqa: ARG002  for those that differ
        """The `ModelSpec` fields in which networks of this family differ from the defaults."""
        return {}

    def decode(
        self,
        outputs: Sequence[NDArray[np.float32]],
        input_size: tuple[int, int],
        confidence: float,
    ) -> Candidates:
        """Boxes of at least `confidence` from the outputs of one image.

        Args:
            outputs: the network's, without the batch dimension.
            input_size: (height, width) of this image's input in pixels.
            confidence: 0..1.

        Raises:
            ValueError: the outputs' shapes are not this family's.
        """


def grid_cells(input_size: tuple[int, int], strides: Sequence[int]) -> int:
    """Cells of all grids laid over an input of (height, width) pixels."""
    height, width = input_size
    return sum(-(-height // stride) * -(-width // stride) for stride in strides)


def strides_of(input_size: tuple[int, int], cells: int) -> tuple[int, ...]:
    """The strides whose grids over `input_size` have `cells` cells in all.

    Raises:
        ValueError: no usual set of strides has.
    """
    for strides in _STRIDE_SETS:
        if grid_cells(input_size, strides) == cells:
            return strides
    raise ValueError(f"{cells} rows fit no grid over an input of {input_size[1]}×{input_size[0]}")


def table(outputs: Sequence[NDArray[np.float32]], least_columns: int) -> NDArray[np.float32]:
    """The one output, checked to be [rows, at least `least_columns`].

    Raises:
        ValueError: it is not.
    """
    shapes = [list(output.shape) for output in outputs]
    if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[1] < least_columns:
        raise ValueError(f"outputs {shapes} are not one table of {least_columns} or more columns")
    return outputs[0]
