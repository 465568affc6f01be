"""Finds the layers of a detector that lose most in INT8, from the graph alone."""

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
    """Names of the nodes at the end of a detector's head.

    These are all nodes on the way back from the outputs up to and including the first layer with
    trained weights: the last layer of each branch, and the arithmetic that turns its values into
    boxes and scores. Pixels and scores share a tensor there, and 256 steps are too coarse for them.
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
    """Whether `node` has trained weights; those that sum a distribution (DFL) do not count."""
    pixels, weights = _inputs([node])[:2]
    while pixels.get_type_name() in _MOVES:
        pixels = pixels.input_value(0).get_node()
    return pixels.get_type_name() != "Softmax" and _is_constant(weights)


def _is_constant(node: ov.Node) -> bool:
    """Whether `node` does not depend on the network's input."""
    todo, seen = [node], set()
    while todo:
        node = todo.pop()
        if node.get_type_name() == "Parameter":
            return False
        if node.get_friendly_name() not in seen:
            seen.add(node.get_friendly_name())
            todo.extend(_inputs([node]))
    return True
