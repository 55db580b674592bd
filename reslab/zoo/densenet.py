"""Huang, Liu, van der Maaten, Weinberger 2016, "Densely Connected..." (arXiv 1608.06993)."""

from __future__ import annotations

from collections.abc import Callable

from reslab.spec import (
    BN,
    AvgPool,
    Concat,
    Conv,
    Dense,
    GlobalAvgPool,
    MaxPool,
    Network,
    Part,
    ReLU,
    Repeat,
)

PAPER = "Huang et al. 2016, arXiv 1608.06993"
Norm = Callable[[], BN]
IMAGENET = {  # Table 1: growth rate, layers of each block; 161 is from the authors' code
    121: (32, 6, 12, 24, 16),
    161: (48, 6, 12, 36, 24),
    169: (32, 6, 12, 32, 32),
    201: (32, 6, 12, 48, 32),
    264: (32, 6, 12, 64, 48),
}


def dense_layer(growth: int) -> Concat:
    """Sec. 3: the input, and `growth` new maps."""
    return Concat(((), (BN(), ReLU, Conv(growth, 3))))


def bottleneck_layer(growth: int, bn: Norm = BN) -> Concat:
    """Sec. 3, DenseNet-B: first a 1x1 convolution to 4 * growth maps."""
    return Concat(((), (bn(), ReLU, Conv(4 * growth, 1), bn(), ReLU, Conv(growth, 3))))


def transition(width: int, bn: Norm = BN) -> Part:
    return bn(), ReLU, Conv(width, 1), AvgPool(2, 2)


def dense_rows(
    layer: Part, width: int, growth: int, *units: int, keep: float, bn: Norm = BN
) -> dict[str, Part]:
    """Dense blocks with transitions between them, which keep the fraction `keep` of the maps."""
    rows: dict[str, Part] = {}
    for i, n in enumerate(units, 1):
        rows[f"dense{i}"] = Repeat(layer, n)
        width += n * growth
        if i < len(units):
            width = int(keep * width)
            rows[f"transition{i}"] = transition(width, bn)
    return rows


def imagenet(
    growth: int, *units: int, bn: Norm = BN, pad: str = "even", classes: int = 1000
) -> dict[str, Part]:
    """Table 1. Libraries differ in `bn` and in `pad`, the padding of the stem."""
    width, layer = 2 * growth, bottleneck_layer(growth, bn)
    stem = Conv(width, 7, 2, pad=pad), bn(), ReLU, MaxPool(3, 2, pad=pad, fill="0")
    rows = dense_rows(layer, width, growth, *units, keep=0.5, bn=bn)
    return {"conv1": stem, **rows, "head": (bn(), ReLU, GlobalAvgPool, Dense(classes))}


def cifar(layer: Part, stem: int, growth: int, n: int, keep: float = 1.0) -> dict[str, Part]:
    """Sec. 3, "Implementation Details": three blocks of n layers on maps of 32, 16 and 8."""
    rows = dense_rows(layer, stem, growth, n, n, n, keep=keep)
    return {"conv1": Conv(stem, 3), **rows, "head": (BN(), ReLU, GlobalAvgPool, Dense(10))}


def _plain(depth: int, growth: int) -> Network:
    """(L - 4) / 3 layers per block, and a stem of 16 maps."""
    rows = cifar(dense_layer(growth), 16, growth, (depth - 4) // 3)
    name, title = f"densenet{depth}_k{growth}", f"DenseNet (L={depth}, k={growth}) for CIFAR"
    return Network(name, rows, (32, 32, 3), title, f"{PAPER}, Table 2")


def _bc(depth: int, growth: int) -> Network:
    """(L - 4) / 6 layers of two convolutions per block, a stem of 2k maps, halving transitions."""
    rows = cifar(bottleneck_layer(growth), 2 * growth, growth, (depth - 4) // 6, keep=0.5)
    name, title = f"densenet_bc{depth}_k{growth}", f"DenseNet-BC (L={depth}, k={growth}) for CIFAR"
    return Network(name, rows, (32, 32, 3), title, f"{PAPER}, Table 2")


NETWORKS = {
    **{
        f"densenet{depth}": Network(
            f"densenet{depth}",
            imagenet(*shape),
            (224, 224, 3),
            f"DenseNet-{depth} (k={shape[0]})",
            f"{PAPER}, Table 1",
        )
        for depth, shape in IMAGENET.items()
    },
    **{
        network.name: network
        for network in (
            *(_plain(depth, growth) for depth, growth in ((40, 12), (100, 12), (100, 24))),
            *(_bc(depth, growth) for depth, growth in ((100, 12), (250, 24), (190, 40))),
        )
    },
}
