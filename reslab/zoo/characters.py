"""The character classifier of the deck: as its slide prints it, and corrected.

*ResNet Overview - Implementation using Keras*, slides "Code": 62 classes (0-9, A-Z, a-z), images of
1x28x28 in channels_first, four pre-activation blocks, each halving the maps.
"""

from __future__ import annotations

from collections.abc import Callable

from reslab.spec import (
    BN,
    GLOROT,
    Add,
    Conv,
    Dense,
    Flatten,
    Init,
    Network,
    Part,
    ReLU,
    Residual,
)

SLIDE = "ResNet Overview - Implementation using Keras, slides 'Code'"
WIDTHS = 64, 128, 256, 512
SEEDED = Init(1.0, "fan_avg", "uniform", seed=0)  # one integer seed: kernels of one shape are equal


def keras_bn() -> BN:
    """Keras's defaults: the axis is the last one, which is the width in channels_first data."""
    return BN(momentum=0.99, epsilon=1e-3, over="width")


def printed(width: int) -> Residual:
    """The block exactly as on the slide: "same" padding, biases, a body of one channel, broadcast.

    The first 3x3 convolution and that of the shortcut have the same shape and seed, so their
    initial kernels are equal.
    """
    body = (
        (keras_bn(), ReLU, Conv(width, 3, 2, pad="same", bias=True, init=SEEDED)),
        (keras_bn(), ReLU, Conv(width, 3, 1, pad="same", bias=True, init=SEEDED)),
        Conv(1, 1, pad="same", bias=True, init=GLOROT),
    )
    shortcut = Conv(width, 3, 2, pad="same", bias=True, init=SEEDED)
    return Residual(body, shortcut, join=Add(broadcast=True), when="always")


def corrected(width: int) -> Residual:
    """He 2016, Fig. 4(e): a body as wide as the block, and a 1x1 projection."""
    body = Conv(width, 3, 2), BN(), ReLU, Conv(width, 3)
    return Residual(body, shortcut=Conv(width, 1, 2), lead=(BN(), ReLU))


def characters(block: Callable[[int], Part], head: Part, order: str) -> dict[str, Part]:
    """Four blocks, then two fully connected layers."""
    rows: dict[str, Part] = {f"block{i}": block(width) for i, width in enumerate(WIDTHS, 1)}
    dense = Dense(512, init=GLOROT), ReLU, Dense(62, init=GLOROT)
    return {**rows, "head": (head, Flatten(order), dense)}


NETWORKS = {
    "characters": Network(
        "characters",
        characters(corrected, (BN(), ReLU), "hwc"),
        (28, 28, 1),
        "the deck's character network, corrected",
        f"{SLIDE}; blocks of He et al. 2016, arXiv 1603.05027, Fig. 4(e)",
    ),
    "characters_printed": Network(
        "characters_printed",
        characters(printed, ReLU, "chw"),
        (28, 28, 1),
        "the deck's character network, as printed",
        SLIDE,
        data_format="channels_first",
    ),
}
