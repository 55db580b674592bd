"""Zagoruyko and Komodakis 2016, "Wide Residual Networks" (arXiv 1605.07146).

It also has the wider ResNet-56 of Li et al. 2018 (arXiv 1712.09913).
"""

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
from reslab.zoo.resnet import IMAGENET, basic, cifar, imagenet
from reslab.zoo.resnext import grouped

PAPER = "Zagoruyko and Komodakis 2016, arXiv 1605.07146"


def wide_preact(width: int, stride: int = 1) -> Residual:
    """The unit B(3,3): pre-activation, and a projection of the activated input."""
    body = Conv(width, 3, stride), BN(), ReLU, Conv(width, 3)
    return Residual(body, shortcut=Conv(width, 1, stride), lead=(BN(), ReLU))


def wide_resnet(n: int, k: int, classes: int = 10) -> dict[str, Part]:
    """Table 1: 6n + 4 layers, k times as wide. No BN follows conv1, as every unit has its lead."""
    return {
        "conv1": Conv(16, 3),
        "conv2_x": stage(wide_preact, 16 * k, n),
        "conv3_x": stage(wide_preact, 32 * k, n, 2),
        "conv4_x": stage(wide_preact, 64 * k, n, 2),
        "head": (BN(), ReLU, GlobalAvgPool, Dense(classes)),
    }


def times(block: Block, k: int) -> Block:
    """A block that is k times as wide."""
    return lambda width, stride=1: block(k * width, stride)


def _imagenet(name: str, depth: int, title: str) -> Network:
    """A bottleneck whose 3x3 convolution is twice as wide as that of ResNet: 128 at width 64."""
    rows = imagenet(grouped(1, 128), *IMAGENET[depth][1:])
    return Network(name, rows, (224, 224, 3), title, PAPER)


def _cifar(depth: int, k: int) -> Network:
    rows = wide_resnet((depth - 4) // 6, k)
    return Network(f"wrn{depth}_{k}", rows, (32, 32, 3), f"WRN-{depth}-{k} for CIFAR", PAPER)


def _li2018(k: int) -> Network:
    rows = {**cifar(times(basic, k), 9), "conv1": (Conv(16 * k, 3), BN(), ReLU)}
    title = f"ResNet-56 for CIFAR, option B, {k} times as wide"
    return Network(f"resnet56_b_k{k}", rows, (32, 32, 3), title, "Li et al. 2018, arXiv 1712.09913")


NETWORKS = {
    network.name: network
    for network in (
        _imagenet("wide_resnet50_2", 50, "Wide ResNet-50-2"),
        _imagenet("wide_resnet101_2", 101, "Wide ResNet-101-2"),
        _cifar(16, 8),
        _cifar(28, 10),
        _cifar(40, 4),
        *(_li2018(k) for k in (2, 4, 8)),
    )
}
