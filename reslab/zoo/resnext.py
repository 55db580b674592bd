"""Xie et al. 2016, "Aggregated Residual Transformations" (arXiv 1611.05431)."""

from __future__ import annotations

from reslab.spec import (
    BN,
    Block,
    Conv,
    Dense,
    GlobalAvgPool,
    Network,
    Part,
    ReLU,
    Residual,
    stage,
)
from reslab.zoo.resnet import IMAGENET, imagenet

PAPER = "Xie et al. 2016, arXiv 1611.05431"


def grouped(groups: int, each: int) -> Block:
    """Fig. 3(c): a bottleneck whose 3x3 has `groups` groups of `each` channels at width 64."""

    def block(width: int, stride: int = 1) -> Residual:
        inner = groups * each * width // 64
        body = (
            (Conv(inner, 1), BN(), ReLU),
            (Conv(inner, 3, stride, groups=groups), BN(), ReLU),
            (Conv(4 * width, 1), BN()),
        )
        return Residual(body, shortcut=(Conv(4 * width, 1, stride), BN()), tail=(ReLU,))

    return block


def resnext29(block: Block, classes: int = 10) -> dict[str, Part]:
    """Sec. 5.2: three stages of three units, for CIFAR."""
    return {
        "conv1": (Conv(64, 3), BN(), ReLU),
        "conv2_x": stage(block, 64, 3),
        "conv3_x": stage(block, 128, 3, 2),
        "conv4_x": stage(block, 256, 3, 2),
        "head": (GlobalAvgPool, Dense(classes)),
    }


def _imagenet(name: str, depth: int, block: Block, title: str, source: str = PAPER) -> Network:
    return Network(name, imagenet(block, *IMAGENET[depth][1:]), (224, 224, 3), title, source)


def _cifar(name: str, block: Block, title: str) -> Network:
    return Network(name, resnext29(block), (32, 32, 3), f"{title} for CIFAR", PAPER)


NETWORKS = {
    network.name: network
    for network in (
        _imagenet("resnext50_32x4d", 50, grouped(32, 4), "ResNeXt-50 32x4d", f"{PAPER}, Table 1"),
        _imagenet("resnext101_32x8d", 101, grouped(32, 8), "ResNeXt-101 32x8d"),
        _imagenet("resnext101_64x4d", 101, grouped(64, 4), "ResNeXt-101 64x4d"),
        _cifar("resnext29_8x64d", grouped(8, 64), "ResNeXt-29 8x64d"),
        _cifar("resnext29_16x64d", grouped(16, 64), "ResNeXt-29 16x64d"),
    )
}
