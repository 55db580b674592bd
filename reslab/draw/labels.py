"""The labels and looks of boxes, as in the figures of the papers."""

from __future__ import annotations

from reslab.spec import (
    BN,
    Activation,
    AvgPool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAverage,
    Leaf,
    MaxPool,
    ZeroPadShortcut,
)
from reslab.spec.shapes import Maps, Shape

TIMES = "\N{MULTIPLICATION SIGN}"
SIGNS = {"add": "+", "multiply": TIMES}  # joins, by their kind


def long(leaf: Leaf) -> str:
    """The label in a building block, where all layers are drawn."""
    match leaf:
        case BN():
            return "BN"
        case Activation("relu"):
            return "ReLU"
        case Dropout():
            return f"dropout {leaf.rate:g}"
        case ZeroPadShortcut():
            stride = f", /{leaf.stride}" if leaf.stride > 1 else ""
            return f"zero-pad, {leaf.channels}{stride}"
    return short(leaf)


def short(leaf: Leaf) -> str:
    """The label in a network, as in He 2015, Fig. 3: "3x3 conv, 64, /2", "pool, /2", "fc 1000"."""
    match leaf:
        case Conv():
            groups = f", C={leaf.groups}" if leaf.groups > 1 else ""
            dilation = f", dilated {leaf.dilation}" if leaf.dilation > 1 else ""
            stride = f", /{leaf.stride}" if leaf.stride > 1 else ""
            return f"{leaf.kernel}x{leaf.kernel} conv, {leaf.filters}{groups}{dilation}{stride}"
        case MaxPool() | AvgPool():
            kind = "avg pool" if isinstance(leaf, AvgPool) else "pool"
            return (
                f"{kind}, /{leaf.stride}" if leaf.stride > 1 else f"{leaf.size}x{leaf.size} {kind}"
            )
        case GlobalAverage():
            return "avg pool"
        case Dense():
            return f"fc {leaf.units}"
    return leaf.label


def look(leaf: Leaf) -> str:
    """The look of the box of a layer; `marks.LAYERS` lists them."""
    match leaf:
        case Conv():
            return "conv"
        case MaxPool() | AvgPool() | GlobalAverage():
            return "pool"
        case Dense():
            return "fc"
        case BN():
            return "bn"
        case Activation():
            return "activation"
    return "other"


def folded(leaf: Leaf, x: Shape) -> bool:
    """Whether Fig. 3 leaves a layer out: batch norm, and layers without weights or a new shape."""
    if isinstance(leaf, BN | Flatten | ZeroPadShortcut):
        return True
    if look(leaf) in ("conv", "pool", "fc"):
        return False
    return not leaf.weights(x) and leaf.out_shape(x) == x


def sign(join: Leaf) -> str:
    """The sign in the circle of a join; a longer label gets a box."""
    return SIGNS.get(join.kind, join.label)


def size(shape: Shape) -> str:
    """The size of activations as text: "64 maps"."""
    if not isinstance(shape, Maps):
        return f"{shape.features} numbers"
    return f"{shape.channels} map{'' if shape.channels == 1 else 's'}"
