"""A graph as an ONNX model."""

from __future__ import annotations

from typing import Any

from reslab.engines.graph import Graph

OPSET, IR = 17, 8  # of 2022, which all that reads ONNX today understands


def proto(graph: Graph) -> Any:
    """An `onnx.ModelProto`; the batch is the open size "n". Needs the package `onnx`."""
    from onnx import TensorProto, helper, numpy_helper

    from reslab import __version__

    def info(name: str, shape: Any) -> Any:
        sizes = [n or ("n" if i == 0 else f"{name}_{i}") for i, n in enumerate(shape)]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)

    nodes = [
        helper.make_node(op.kind, op.inputs, [op.output], name=op.output, **op.attributes)
        for op in graph.ops
    ]
    made = helper.make_graph(
        nodes,
        graph.name,
        [info(graph.input, graph.input_shape)],
        [info(name, shape) for name, shape in graph.outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    return helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="reslab",
        producer_version=__version__,
    )
