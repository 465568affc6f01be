"""Which parts of a detector lose most in eight bits, told by the form of its graph alone."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import openvino as ov

_WEIGHTED = {
    "Convolution",
    "ConvolutionBackpropData",
    "GroupConvolution",
    "GroupConvolutionBackpropData",
    "MatMul",
}
_NO_PIXELS = {"Constant", "Parameter", "ShapeOf"}
_MOVES = {"Convert", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


def sensitive_layers(network: ov.Model) -> list[str]:
    """Names of what lies between a detector's features and its outputs.

    That is everything, walked back from the outputs, up to and including the first layer with
    trained weights on each way: the last layer of each branch of the head, and the arithmetic
    after it that turns its numbers into boxes and scores. There a number is pixels or a score,
    and one scale for both, or 256 steps for all pixels of a picture, is too coarse.
    """
    found: dict[str, None] = {}
    todo = deque(_inputs(network.get_results()))
    while todo:
        node = todo.popleft()
        name = node.get_friendly_name()
        kind = node.get_type_name()
        if name in found or kind in _NO_PIXELS:
            continue
        found[name] = None
        if kind not in _WEIGHTED or not _is_trained(node):
            todo.extend(_inputs([node]))
    return list(found)


def _inputs(nodes: Iterable[ov.Node]) -> list[ov.Node]:
    return [value.get_node() for node in nodes for value in node.input_values()]


def _is_trained(node: ov.Node) -> bool:
    """Whether `node` has weights of its own, other than those that sum up a distribution (DFL)."""
    pixels, weights = _inputs([node])[:2]
    while pixels.get_type_name() in _MOVES:
        pixels = pixels.input_value(0).get_node()
    return pixels.get_type_name() != "Softmax" and _is_constant(weights)


def _is_constant(node: ov.Node) -> bool:
    """Whether nothing that depends on the picture goes into `node`."""
    todo, seen = [node], set()
    while todo:
        node = todo.pop()
        if node.get_type_name() == "Parameter":
            return False
        if node.get_friendly_name() not in seen:
            seen.add(node.get_friendly_name())
            todo.extend(_inputs([node]))
    return True
