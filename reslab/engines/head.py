"""The end of a classifier: its last feature maps, and what makes class scores of them.

With global average pooling and one dense layer behind the maps, the score of a class is the mean
over the positions of

    maps[y, x, class] = sum over k of features[y, x, k] * kernel[k, class] + bias[class]

which are the class activation maps (Zhou et al. 2016, Eq. 2), here with the bias at each position.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from keras import activations, layers

from reslab.engines.folding import is_linear
from reslab.engines.program import Call, Program, SymbolicTensor, is_a

MAPS = "class_maps"  # the name of the layer that computes class activation maps
_PROBABILITIES = activations.softmax, activations.sigmoid
_REARRANGING = (  # layers behind the last feature maps that only pool or transpose them
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.AdaptiveAveragePooling2D,
    layers.Permute,
)


class NoMaps(Exception):
    """A model without feature maps, or without exact class activation maps; says why."""


@dataclass(frozen=True)
class TrunkAndHead:
    """A classifier in two parts: images to feature maps, and feature maps to class scores.

    Attributes:
        trunk: Images to the last feature maps.
        head: The feature maps to logits (n, classes).
        channels_first: Whether the maps are (n, channels, height, width).
    """

    trunk: Program
    head: Program
    channels_first: bool


def split(program: Program) -> TrunkAndHead:
    """The two parts of a classifier with one input and one output. Raises NoMaps."""
    program = logits(program)
    position = _position(program)
    calls = program.calls
    features = calls[position].output
    trunk = replace(program, calls=calls[: position + 1], outputs=features)
    head = Program(
        f"{program.name}_head", {"features": features}, calls[position + 1 :], program.outputs
    )
    return TrunkAndHead(trunk, head, _is_channels_first(calls, features))


def logits(program: Program) -> Program:
    """The program without the softmax or sigmoid at its end."""
    last = program.calls[-1]
    if last.output is not program.outputs:
        raise NoMaps("its last layer is not its output")
    op = last.op
    if is_a(op, layers.Softmax) or (
        is_a(op, layers.Activation) and op.activation in _PROBABILITIES
    ):
        return replace(program, calls=program.calls[:-1], outputs=last.inputs[0])
    if getattr(op, "activation", None) in _PROBABILITIES:
        linear = type(op).from_config({**op.get_config(), "activation": "linear"})
        return replace(program, calls=(*program.calls[:-1], replace(last, op=linear)))
    return program


def _position(program: Program) -> int:
    """Which call gives the last feature maps. All later calls depend on these maps alone."""
    calls = program.calls
    later: set[SymbolicTensor] = set()  # what later calls take from before
    for position in reversed(range(len(calls))):
        call = calls[position]
        alone = later <= {call.output}
        if alone and _is_map(call.output) and not is_a(call.op, *_REARRANGING):
            return position
        later = (later - {call.output}) | set(call.inputs)
    raise NoMaps("it has no feature maps")


def _is_map(tensor: SymbolicTensor) -> bool:
    """Whether a tensor has four axes and more than one position."""
    shape = tensor.shape
    if len(shape) != 4:
        return False
    return None in shape[1:] or sum(n > 1 for n in shape[1:] if n) > 1


def _is_channels_first(calls: tuple[Call, ...], features: SymbolicTensor) -> bool:
    """The layout of the feature maps, from the layers that make or use them."""
    index = next(i for i, call in enumerate(calls) if call.output is features)
    users = [call for call in calls[index:] if features in call.inputs]
    for call in (*users, *reversed(calls[: index + 1])):
        if (data_format := getattr(call.op, "data_format", None)) is not None:
            return bool(data_format == "channels_first")
    return False


def with_maps(program: Program) -> Program:
    """The program with a second output: class activation maps, (n, height, width, classes).

    The mean over the positions of a map is the logit of its class.

    Raises NoMaps if the head is anything else than global average pooling, followed by one dense
    layer or by nothing.
    """
    pool, dense = _linear_head(logits(program).calls)
    features = pool.inputs[0]
    added = []
    if pool.op.data_format == "channels_first":
        n, channels, height, width = features.shape
        last = SymbolicTensor((n, height, width, channels))
        added.append(Call(layers.Permute((2, 3, 1)), (features,), {}, last))
        features = last
    if dense is not None:
        maps = SymbolicTensor((*features.shape[:3], dense.output.shape[-1]))
        layer = layers.Dense(maps.shape[-1], use_bias="bias" in dense.weights, name=MAPS)
        added.append(Call(layer, (features,), {}, maps, dict(dense.weights)))
        features = maps
    return replace(program, calls=(*program.calls, *added), outputs=[program.outputs, features])


def _linear_head(calls: tuple[Call, ...]) -> tuple[Call, Call | None]:
    """The global average pooling at the end of a program, and the dense layer behind it."""
    pool, dense = calls[-1], None
    if len(calls) > 1 and is_a(pool.op, layers.Dense) and is_linear(pool):
        pool, dense = calls[-2], calls[-1]
    averages = is_a(pool.op, layers.GlobalAveragePooling2D) and not pool.op.keepdims
    if not averages or (dense is not None and dense.inputs != [pool.output]):
        raise NoMaps(
            "its head is not global average pooling followed by one dense layer, so its class "
            "activation maps are not exact"
        )
    return pool, dense
