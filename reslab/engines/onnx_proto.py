"""A graph as an ONNX model."""

from __future__ import annotations

from typing import Any

from reslab.engines.graph import Graph

OPSET, IR_VERSION = 17, 8  # from 2022: current ONNX readers all support them


def proto(graph: Graph) -> Any:
    """The graph as an `onnx.ModelProto` with the symbolic batch size "n". Requires `onnx`."""
    from onnx import TensorProto, helper, numpy_helper

    from reslab import __version__

    def value_info(name: str, shape: Any) -> Any:
        sizes = [n or ("n" if i == 0 else f"{name}_{i}") for i, n in enumerate(shape)]
        kind = TensorProto.DataType.Value(graph.types.get(name, "float").upper())
        return helper.make_tensor_value_info(name, kind, sizes)

    nodes = [
        helper.make_node(op.kind, op.inputs, [op.output], name=op.output, **op.attributes)
        for op in graph.ops
    ]
    onnx_graph = helper.make_graph(
        nodes,
        graph.name,
        [value_info(name, shape) for name, shape in graph.inputs.items()],
        [value_info(name, shape) for name, shape in graph.outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    return helper.make_model(
        onnx_graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="reslab",
        producer_version=__version__,
    )
