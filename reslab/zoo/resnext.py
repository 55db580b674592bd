"""Xie et al. 2016, "Aggregated Residual Transformations" (arXiv 1611.05431), and nets made wide.

Wide ResNet is Zagoruyko and Komodakis 2016 (arXiv 1605.07146).
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

PAPER = "Xie et al. 2016, arXiv 1611.05431"
WIDE = "Zagoruyko and Komodakis 2016, arXiv 1605.07146"


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


def wide_preact(width: int, stride: int = 1) -> Residual:
    """Wide ResNet's B(3,3): pre-activated, the projection of what is activated."""
    body = Conv(width, 3, stride), BN(), ReLU, Conv(width, 3)
    return Residual(body, shortcut=Conv(width, 1, stride), lead=(BN(), ReLU))


def wide_resnet(n: int, k: int, classes: int = 10) -> dict[str, Part]:
    """Table 1 there: 6n + 4 layers, k times as wide. conv1 is bare: every unit has its own lead."""
    return {
        "conv1": Conv(16, 3),
        "conv2_x": stage(wide_preact, 16 * k, n),
        "conv3_x": stage(wide_preact, 32 * k, n, 2),
        "conv4_x": stage(wide_preact, 64 * k, n, 2),
        "head": (BN(), ReLU, GlobalAvgPool, Dense(classes)),
    }


def times(block: Block, k: int) -> Block:
    """The block, k times as wide."""
    return lambda width, stride=1: block(k * width, stride)


def _imagenet(name: str, depth: int, block: Block, title: str, source: str) -> Network:
    return Network(name, imagenet(block, *IMAGENET[depth][1:]), (224, 224, 3), title, source)


def _cifar(name: str, rows: dict[str, Part], title: str, source: str) -> Network:
    return Network(name, rows, (32, 32, 3), title, source)


def _li2018(k: int) -> Network:
    rows = {**cifar(times(basic, k), 9), "conv1": (Conv(16 * k, 3), BN(), ReLU)}
    title = f"ResNet-56 for CIFAR, option B, {k} times as wide"
    return _cifar(f"resnet56_b_k{k}", rows, title, "Li et al. 2018, arXiv 1712.09913")


NETWORKS = {
    network.name: network
    for network in (
        _imagenet("resnext50_32x4d", 50, grouped(32, 4), "ResNeXt-50 32x4d", f"{PAPER}, Table 1"),
        _imagenet("resnext101_32x8d", 101, grouped(32, 8), "ResNeXt-101 32x8d", PAPER),
        _imagenet("resnext101_64x4d", 101, grouped(64, 4), "ResNeXt-101 64x4d", PAPER),
        _imagenet("wide_resnet50_2", 50, grouped(1, 128), "Wide ResNet-50-2", WIDE),
        _imagenet("wide_resnet101_2", 101, grouped(1, 128), "Wide ResNet-101-2", WIDE),
        _cifar("resnext29_8x64d", resnext29(grouped(8, 64)), "ResNeXt-29 8x64d for CIFAR", PAPER),
        _cifar(
            "resnext29_16x64d", resnext29(grouped(16, 64)), "ResNeXt-29 16x64d for CIFAR", PAPER
        ),
        _cifar("wrn16_8", wide_resnet(2, 8), "WRN-16-8 for CIFAR", WIDE),
        _cifar("wrn28_10", wide_resnet(4, 10), "WRN-28-10 for CIFAR", WIDE),
        _cifar("wrn40_4", wide_resnet(6, 4), "WRN-40-4 for CIFAR", WIDE),
        *(_li2018(k) for k in (2, 4, 8)),
    )
}
