"""He, Zhang, Ren, Sun 2016, "Identity Mappings in Deep Residual Networks" (arXiv 1603.05027).

Full pre-activation, Fig. 4(e). The appendix treats both ends: the first unit has no activation of
its own, since the one after conv1 comes before the paths fork; after the last sum there is one more
BN and ReLU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reslab.spec import (
    BN,
    Block,
    Conv,
    Dense,
    Dropout,
    Gate,
    GlobalAvgPool,
    MaxPool,
    Network,
    Part,
    ReLU,
    Repeat,
    Residual,
    Scale,
    ZeroPadShortcut,
    stage,
    unroll,
)
from reslab.zoo.resnet import bottleneck_v1, option_a
from reslab.zoo.resnet import cifar as resnet_cifar

PAPER = "He et al. 2016, arXiv 1603.05027"


def preact_basic(width: int, stride: int = 1) -> Residual:
    """Fig. 4(e) with two 3x3 convolutions and option A: ResNet-110."""
    body = Conv(width, 3, stride), BN(), ReLU, Conv(width, 3)
    return Residual(body, shortcut=ZeroPadShortcut(width, stride), lead=(BN(), ReLU))


def preact(width: int, stride: int = 1) -> Residual:
    """Fig. 4(e), bottleneck, stride in the 3x3."""
    body = Conv(width, 1), BN(), ReLU, Conv(width, 3, stride), BN(), ReLU, Conv(4 * width, 1)
    return Residual(body, shortcut=Conv(4 * width, 1, stride), lead=(BN(), ReLU))


def preact_released(width: int, stride: int = 1) -> Residual:
    """Fig. 4(e), bottleneck, stride in the first 1x1: the released code of the CIFAR networks."""
    body = Conv(width, 1, stride), BN(), ReLU, Conv(width, 3), BN(), ReLU, Conv(4 * width, 1)
    return Residual(body, shortcut=Conv(4 * width, 1, stride), lead=(BN(), ReLU))


# Positions of the activations: Fig. 4, Table 2 ----------------------------------------------------


def bn_after_addition(unit: Residual) -> Residual:
    """Fig. 4(b), from the original unit: BN and ReLU after the sum."""
    *body, _ = unroll(unit.body)
    return replace(unit, body=tuple(body), tail=(BN(), ReLU))


def relu_before_addition(unit: Residual) -> Residual:
    """Fig. 4(c): the ReLU is before the sum, so the body is never negative."""
    return replace(unit, body=(unit.body, ReLU), tail=())


def relu_only_preactivation(unit: Residual) -> Residual:
    """Fig. 4(d): a ReLU before each convolution, and BN after it."""
    return replace(unit, lead=ReLU, tail=())


# Kinds of shortcuts: Fig. 2, Table 1 ------------------------------------------------------------


def constant_scaling(unit: Residual, shortcut: float = 0.5, body: float = 0.5) -> Residual:
    """Fig. 2(b): both paths multiplied by a constant."""
    scaled = replace(unit, shortcut=(unit.shortcut, Scale(shortcut)), when="always")
    return replace(scaled, body=(unit.body, Scale(body))) if body != 1 else scaled


def exclusive_gating(unit: Residual, bias: float = -6.0) -> Residual:
    """Fig. 2(c): g(x) for the body, 1 - g(x) for the shortcut."""
    return replace(unit, join=Gate("exclusive", bias))


def shortcut_only_gating(unit: Residual, bias: float = -6.0) -> Residual:
    """Fig. 2(d): 1 - g(x) for the shortcut; the body has no gate."""
    return replace(unit, join=Gate("shortcut", bias))


def dropout_shortcut(unit: Residual, rate: float = 0.5) -> Residual:
    """Fig. 2(f): dropout on the shortcut."""
    return replace(unit, shortcut=(unit.shortcut, Dropout(rate)), when="always")


def varied(block: Block, change: Callable[..., Residual], *values: float) -> Block:
    """A block with `change` applied to each of its units."""
    return lambda width, stride=1: change(block(width, stride), *values)


def conv_shortcut(width: int, stride: int = 1) -> Residual:
    """Fig. 2(e): a 1x1 convolution on every shortcut."""
    return replace(option_a(width, stride), shortcut=Conv(width, 1, stride), when="always")


def first_stage(block: Block, width: int, units: int) -> Part:
    """A stage whose first unit has no activation: conv1 already ends in one."""
    return replace(block(width), lead=()), Repeat(block(width), units - 1)  # type: ignore[type-var]


def imagenet(
    block: Block, n2: int, n3: int, n4: int, n5: int, classes: int = 1000
) -> dict[str, Part]:
    return {
        "conv1": (Conv(64, 7, 2), BN(), ReLU),
        "conv2_x": (MaxPool(3, 2, fill="0"), first_stage(block, 64, n2)),
        "conv3_x": stage(block, 128, n3, 2),
        "conv4_x": stage(block, 256, n4, 2),
        "conv5_x": stage(block, 512, n5, 2),
        "head": (BN(), ReLU, GlobalAvgPool, Dense(classes)),
    }


def cifar(block: Block, n: int, classes: int = 10) -> dict[str, Part]:
    """6n + 2 layers of basic units, 9n + 2 of bottlenecks."""
    return {
        "conv1": (Conv(16, 3), BN(), ReLU),
        "conv2_x": first_stage(block, 16, n),
        "conv3_x": stage(block, 32, n, 2),
        "conv4_x": stage(block, 64, n, 2),
        "head": (BN(), ReLU, GlobalAvgPool, Dense(classes)),
    }


def original(block: Block, n: int, last: Part = (), classes: int = 10) -> dict[str, Part]:
    """The CIFAR network of He 2015 with other units; `last` are the layers before its head."""
    return {**resnet_cifar(block, n), "head": (last, GlobalAvgPool, Dense(classes))}


def _variant(depth: int, suffix: str, rows: dict[str, Part], title: str, where: str) -> Network:
    name = f"resnet{depth}_{suffix}" if suffix else f"resnet{depth}"
    return Network(
        name, rows, (32, 32, 3), f"ResNet-{depth} for CIFAR, {title}", f"{PAPER}, {where}"
    )


def _positions(depth: int, block: Block) -> list[Network]:
    """Table 2 without its first and last lines, which are separate networks."""

    def rows(change: Callable[..., Residual], last: Part = ()) -> dict[str, Part]:
        return original(varied(block, change), 18, last)

    return [
        _variant(depth, suffix, variant, title, "Table 2")
        for suffix, variant, title in (
            ("bn_after_addition", rows(bn_after_addition), "BN after addition"),
            ("relu_before_addition", rows(relu_before_addition), "ReLU before addition"),
            ("relu_only_v2", rows(relu_only_preactivation, ReLU), "ReLU-only pre-activation"),
        )
    ]


def _shortcuts() -> list[Network]:
    """Table 1 without its first line, and without the constant 0, which is plain110."""

    def rows(change: Callable[..., Residual], *values: float) -> dict[str, Part]:
        return original(varied(option_a, change, *values), 18)

    variants = (
        ("constant_scaling", rows(constant_scaling), "both paths times 0.5"),
        ("shortcut_scaling", rows(constant_scaling, 0.5, 1), "the shortcut times 0.5"),
        ("exclusive_gating", rows(exclusive_gating), "exclusive gating, bias -6"),
        ("shortcut_gating", rows(shortcut_only_gating), "shortcut-only gating, bias -6"),
        ("shortcut_gating_0", rows(shortcut_only_gating, 0.0), "shortcut-only gating, bias 0"),
        ("conv_shortcut", original(conv_shortcut, 18), "1x1 convolutions as shortcuts"),
        ("dropout_shortcut", rows(dropout_shortcut), "dropout of 0.5 on the shortcuts"),
    )
    return [_variant(110, suffix, net, title, "Table 1") for suffix, net, title in variants]


def _imagenet(depth: int, *units: int) -> Network:
    rows, title = imagenet(preact, *units), f"ResNet-{depth} v2 (pre-activation)"
    return Network(f"resnet{depth}_v2", rows, (224, 224, 3), title, f"{PAPER}, Table 5")


def _cifar(depth: int, block: Block, n: int) -> Network:
    rows, title = cifar(block, n), f"ResNet-{depth} v2 for CIFAR (pre-activation)"
    return Network(f"resnet{depth}_v2", rows, (32, 32, 3), title, f"{PAPER}, Table 3")


NETWORKS = {
    "resnet50_v2": _imagenet(50, 3, 4, 6, 3),
    "resnet101_v2": _imagenet(101, 3, 4, 23, 3),
    "resnet152_v2": _imagenet(152, 3, 8, 36, 3),
    "resnet200_v2": _imagenet(200, 3, 24, 36, 3),
    "resnet110_v2": _cifar(110, preact_basic, 18),
    "resnet164_v2": _cifar(164, preact_released, 18),
    "resnet1001_v2": _cifar(1001, preact_released, 111),
    **{
        network.name: network
        for network in (
            _variant(164, "", original(bottleneck_v1, 18), "the original unit", "Table 2"),
            *_positions(110, option_a),
            *_positions(164, bottleneck_v1),
            *_shortcuts(),
        )
    },
}
