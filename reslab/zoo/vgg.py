"""Simonyan, Zisserman 2014, "Very Deep Convolutional Networks" (arXiv 1409.1556)."""

from __future__ import annotations

from reslab.spec import BN, Block, Conv, Dense, Dropout, Flatten, MaxPool, Network, Part, ReLU

PAPER = "Simonyan and Zisserman 2014, arXiv 1409.1556, Table 1"
WIDTHS = 64, 128, 256, 512, 512
UNITS = {  # Table 1's columns A, B, D and E
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def conv(width: int) -> Part:
    return Conv(width, 3, bias=True), ReLU


def conv_bn(width: int) -> Part:
    """torchvision's variant: BN after each convolution, which keeps its bias."""
    return Conv(width, 3, bias=True), BN(), ReLU


def vgg(unit: Block, *units: int, classes: int = 1000) -> dict[str, Part]:
    hidden = Dense(4096), ReLU, Dropout(0.5)
    return {
        **{
            f"conv{i}": ((unit(width),) * n, MaxPool(2, 2))
            for i, (n, width) in enumerate(zip(units, WIDTHS, strict=True), 1)
        },
        "head": (Flatten("chw"), hidden, hidden, Dense(classes)),
    }


def _network(name: str, rows: dict[str, Part], title: str) -> Network:
    return Network(name, rows, (224, 224, 3), title, PAPER)


NETWORKS = {
    **{f"vgg{n}": _network(f"vgg{n}", vgg(conv, *units), f"VGG-{n}") for n, units in UNITS.items()},
    **{
        f"vgg{n}_bn": _network(f"vgg{n}_bn", vgg(conv_bn, *units), f"VGG-{n} with batch norm")
        for n, units in UNITS.items()
    },
}
