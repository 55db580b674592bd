"""What is exported as one graph: from pictures, uint8, to probabilities."""

from __future__ import annotations

from dataclasses import replace

from reslab.core.errors import UserError
from reslab.engines.graph import Builder, Graph, Op
from reslab.engines.head import NoMaps, with_maps
from reslab.engines.lowering_rules import lower
from reslab.engines.program import Unsupported
from reslab.formats.arithmetic import Tensor
from reslab.formats.exportable import Exportable
from reslab.formats.views import add_view, in_order

INPUT, OUTPUT, MAPS = "images", "probabilities", "maps"


def graph(source: Exportable, fixed_size: bool = False, maps: bool = False) -> Graph:
    """The whole graph.

    Its input is `images`, uint8 (n, height, width, channels) in RGB or grey, and its output
    `probabilities`, float32 (n, classes). Height and width are any, and the images of a batch have
    one size; with `fixed_size` they are those of the model. With `maps` there is a second output
    `maps`: the class activation maps, float32 (n, rows, columns, classes), which cover the part of
    the picture that the network sees. Their mean over rows and columns are the logits.

    Raises:
        UserError: A layer of the model has no form in ONNX, or its maps are not exact.
    """
    try:
        network = lower(with_maps(source.forms.program)) if maps else source.forms.graph
    except Unsupported as reason:
        raise UserError(f"{source.model.name} cannot be exported: {reason}") from None
    except NoMaps as reason:
        raise UserError(f"{source.model.name} is exported without --maps only: {reason}") from None
    (taken,) = network.inputs
    given = zip(network.outputs, (OUTPUT, MAPS), strict=False)
    network = _renamed(network, {taken: "view", **dict(given)})
    before = view(source, fixed_size)
    return replace(
        before,
        name=network.name,
        ops=(*before.ops, *network.ops),
        constants={**before.constants, **network.constants},
        outputs=network.outputs,
    )


def view(source: Exportable, fixed_size: bool = False) -> Graph:
    """The part of the graph before the network. Its output `view` is what the model takes."""
    builder = Builder()
    height, width, channels = source.shape
    if fixed_size:
        images = Tensor(builder, INPUT).as_type("float32")
        last = in_order(images, source.order).name
    else:
        last = add_view(builder, INPUT, source.view, source.order)
    builder.ops["view"] = replace(builder.ops.pop(last), output="view")
    sizes = (height, width) if fixed_size else (None, None)
    return Graph(
        name="view",
        inputs={INPUT: (None, *sizes, channels)},
        ops=tuple(builder.ops.values()),
        constants=builder.constants,
        outputs={"view": (None, height, width, channels)},
        types={INPUT: "uint8"},
    )


def _renamed(graph: Graph, names: dict[str, str]) -> Graph:
    """The graph with other names for some tensors."""

    def name(old: str) -> str:
        return names.get(old, old)

    ops = tuple(
        Op(op.kind, tuple(map(name, op.inputs)), name(op.output), op.attributes) for op in graph.ops
    )
    outputs = {name(output): shape for output, shape in graph.outputs.items()}
    return replace(graph, ops=ops, outputs=outputs)
