"""The two parts of what is exported: from pictures to the view, and on to probabilities."""

from __future__ import annotations

from dataclasses import replace

from reslab.core.errors import UserError
from reslab.engines.graph import Builder, Graph, Op
from reslab.engines.head import NoMaps, with_maps
from reslab.engines.lowering_rules import lower
from reslab.engines.opening import VIEW
from reslab.engines.program import Unsupported
from reslab.formats.arithmetic import Tensor
from reslab.formats.exportable import Exportable
from reslab.formats.views import add_view, in_order

INPUT, OUTPUT, MAPS = "images", "probabilities", "maps"


def network(source: Exportable, maps: bool = False) -> Graph:
    """From `view`, what the model takes, float32 (n, height, width, channels), to `probabilities`.

    With `maps` there is a second output `maps`: the class activation maps, float32 (n, rows,
    columns, classes), which cover the part of the picture that the network sees. Their mean over
    rows and columns are the logits.

    Raises:
        UserError: A layer of the model has no form in ONNX, or its maps are not exact.
    """
    try:
        lowered = lower(with_maps(source.forms.program)) if maps else source.forms.graph
    except Unsupported as reason:
        raise UserError(f"{source.model.name} cannot be exported: {reason}") from None
    except NoMaps as reason:
        raise UserError(f"{source.model.name} is exported without --maps only: {reason}") from None
    (taken,) = lowered.inputs
    given = zip(lowered.outputs, (OUTPUT, MAPS), strict=False)
    return _renamed(lowered, {taken: VIEW, **dict(given)})


def view(source: Exportable, fixed_size: bool = False) -> Graph:
    """From `images`, uint8 (n, height, width, channels) in RGB or grey, to `view`.

    Height and width are any, and the images of a batch have one size; with `fixed_size` they are
    those of the model.
    """
    builder = Builder()
    height, width, channels = source.shape
    if fixed_size:
        images = Tensor(builder, INPUT).as_type("float32")
        last = in_order(images, source.order).name
    else:
        last = add_view(builder, INPUT, source.view, source.order)
    builder.ops[VIEW] = replace(builder.ops.pop(last), output=VIEW)
    sizes = (height, width) if fixed_size else (None, None)
    return Graph(
        name=VIEW,
        inputs={INPUT: (None, *sizes, channels)},
        ops=tuple(builder.ops.values()),
        constants=builder.constants,
        outputs={VIEW: (None, height, width, channels)},
        types={INPUT: "uint8"},
    )


def _renamed(graph: Graph, names: dict[str, str]) -> Graph:
    """The graph with other names for some tensors."""

    def name(old: str) -> str:
        return names.get(old, old)

    ops = tuple(
        Op(op.kind, tuple(map(name, op.inputs)), name(op.output), op.attributes) for op in graph.ops
    )
    inputs = {name(taken): shape for taken, shape in graph.inputs.items()}
    outputs = {name(output): shape for output, shape in graph.outputs.items()}
    return replace(graph, inputs=inputs, ops=ops, outputs=outputs)
