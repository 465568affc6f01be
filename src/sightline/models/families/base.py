"""The family interface, and helpers that several families share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sightline.models.graph import TensorInfo

MAX_QUERIES = 1000
"""Most output rows of networks that suppress duplicates themselves."""

# Strides that detectors of these families are built with (plain, P6, P2, tiny).
_STRIDE_SETS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


@dataclass(frozen=True, slots=True)
class Outline:
    """A network's shapes and metadata, by which its family is recognised.

    Attributes:
        outputs: with their shapes at `input_size`.
        input_size: (height, width) in pixels.
        labels: number of class names in the file; None if it has none.
        metadata: as in `models.graph.Graph`.
        stride_sets: strides that its grids may have.
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
        """Numbers of cells that a grid detector may have at this input size."""
        return {grid_cells(self.input_size, strides) for strides in self.stride_sets}

    def only_output(self) -> tuple[int | None, int | None] | None:
        """The last two sizes of the one output [N, a, b]; None if it is not of that form."""
        if len(self.outputs) != 1 or len(self.outputs[0].shape) != 3:
            return None
        return self.outputs[0].shape[1], self.outputs[0].shape[2]

    @property
    def suppresses(self) -> bool:
        """Whether duplicates are suppressed inside the graph, by the exporter's metadata."""
        arguments = self.metadata.get("args")
        nms = arguments.get("nms") if isinstance(arguments, dict) else None
        return self.metadata.get("end2end") is True or nms is True


@dataclass(frozen=True, slots=True)
class Candidates:
    """Decoded boxes of one image, before non-maximum suppression.

    Attributes:
        boxes: float32 [N, 4] xyxy, input pixels.
        scores: float32 [N], 0..1.
        class_ids: int64 [N].
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]


class Family(Protocol):
    """The output format of one kind of network. Families inherit from it.

    Attributes:
        form: the shape of its outputs, for error messages.
        overlaps: its outputs contain duplicates, so NMS must follow.
        iou: its default NMS threshold.
    """

    form: str
    overlaps: bool
    iou: float

    def recognises(self, outline: Outline) -> bool:
        """Whether these outputs are of this family."""

    def classes(self, outline: Outline) -> int | None:
        """Number of classes by the outputs' shapes; None if these do not tell.

        Raises:
            ValueError: outputs of these shapes cannot be of this family.
        """

    def preprocessing(self, outline: Outline) -> dict[str, Any]:  # noqa: ARG002  for overrides
        """`ModelSpec` fields of this family that differ from the defaults."""
        return {}

    def decode(
        self,
        outputs: Sequence[NDArray[np.float32]],
        input_size: tuple[int, int],
        confidence: float,
    ) -> Candidates:
        """Decode the outputs for one image into boxes of at least `confidence`.

        Args:
            outputs: the network's, without the batch dimension.
            input_size: (height, width) of this image's input in pixels.
            confidence: 0..1.

        Raises:
            ValueError: the outputs' shapes are not of this family.
        """


def grid_cells(input_size: tuple[int, int], strides: Sequence[int]) -> int:
    """Number of cells of all grids over an input of (height, width) pixels."""
    height, width = input_size
    return sum(-(-height // stride) * -(-width // stride) for stride in strides)


def strides_of(input_size: tuple[int, int], cells: int) -> tuple[int, ...]:
    """The strides whose grids over `input_size` have `cells` cells in all.

    Raises:
        ValueError: no known set of strides does.
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
