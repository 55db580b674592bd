"""The graph of a functional Keras model, in the order of computation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reslab.acceleration.keras_internals import nodes_by_depth


def call_nodes(function: Any) -> Iterator[Any]:
    """The calls of a `keras.Function` or functional model, each after those that it depends on.

    A node has `operation` (a layer or an operation), `arguments` (with `args` and `kwargs`),
    `input_tensors` and `outputs`. As in Keras, a call that the inputs do not suffice for is left
    out.
    """
    nodes = nodes_by_depth(function)
    computed = {id(x) for x in function.inputs}
    for depth in sorted(nodes, reverse=True):
        for node in nodes[depth]:
            if not node.operation or node.is_input:
                continue
            if all(id(x) in computed for x in node.input_tensors):
                computed.update(map(id, node.outputs))
                yield node
