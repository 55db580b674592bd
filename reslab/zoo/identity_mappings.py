"""He, Zhang, Ren, Sun 2016, "Identity Mappings in Deep Residual Networks" (arXiv 1603.05027).

Full pre-activation, Fig. 4(e). Two things that the paper says of the ends (appendix): the first
unit finds its activation done right after conv1, before the paths part, so it has none of its own;
after the last sum there is one BN and ReLU more.
"""

from __future__ import annotations

from dataclasses import replace

from reslab.spec import (
    BN,
    Block,
    Conv,
    Dense,
    GlobalAvgPool,
    MaxPool,
    Network,
    Part,
    ReLU,
    Repeat,
    Residual,
    ZeroPadShortcut,
    stage,
)

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
    """Fig. 4(e), bottleneck, stride in the first 1x1: the released code of the CIFAR nets."""
    body = Conv(width, 1, stride), BN(), ReLU, Conv(width, 3), BN(), ReLU, Conv(4 * width, 1)
    return Residual(body, shortcut=Conv(4 * width, 1, stride), lead=(BN(), ReLU))


def first_stage(block: Block, width: int, units: int) -> Part:
    """Its first unit leaves out the activation that conv1 has already had."""
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
}
