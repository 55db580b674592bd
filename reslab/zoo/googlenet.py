"""Szegedy et al. 2014, "Going Deeper with Convolutions" (arXiv 1409.4842).

The network of the paper has 5x5 convolutions, biases and local response normalisation. That of
torchvision has batch normalisation, 3x3 convolutions in place of the 5x5, and larger average pools
in the auxiliary heads. The sizes of pools are rounded up (Caffe).
"""

from __future__ import annotations

from collections.abc import Callable

from reslab.spec import (
    BN,
    HE,
    LRN,
    AdaptiveAvgPool,
    AvgPool,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Network,
    Part,
    ReLU,
)

PAPER = "Szegedy et al. 2014, arXiv 1409.4842, Table 1"
Unit = Callable[..., Part]
POOL = MaxPool(3, 2, pad="ceil", fill="0")


def biased(width: int, kernel: int, stride: int = 1) -> Part:
    # HE, not HE_OUT: a reduction from 480 maps to 16 would multiply activations, without batch norm
    return Conv(width, kernel, stride, bias=True, init=HE), ReLU


def normalised(width: int, kernel: int, stride: int = 1) -> Part:
    return Conv(width, kernel, stride), BN(epsilon=1e-3), ReLU


def inceptions(conv: Unit, wide: int, last_pool: Part) -> dict[str, Part]:
    """Table 1: widths of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.

    `wide` is the kernel of the convolution that the table calls 5x5.
    """

    def module(a: int, b1: int, b2: int, c1: int, c2: int, d: int) -> Part:
        return Concat(
            (
                conv(a, 1),
                (conv(b1, 1), conv(b2, 3)),
                (conv(c1, 1), conv(c2, wide)),
                (MaxPool(3, 1), conv(d, 1)),
            )
        )

    return {
        "inception_3a": module(64, 96, 128, 16, 32, 32),
        "inception_3b": (module(128, 128, 192, 32, 96, 64), POOL),
        "inception_4a": module(192, 96, 208, 16, 48, 64),
        "inception_4b": module(160, 112, 224, 24, 64, 64),
        "inception_4c": module(128, 128, 256, 24, 64, 64),
        "inception_4d": module(112, 144, 288, 32, 64, 64),
        "inception_4e": (module(256, 160, 320, 32, 128, 128), last_pool),
        "inception_5a": module(256, 160, 320, 32, 128, 128),
        "inception_5b": module(384, 192, 384, 48, 128, 128),
    }


def auxiliary(pool: Part, conv: Unit, classes: int = 1000) -> dict[str, tuple[Part, float]]:
    """Sec. 5: heads after 4a and 4d, each with weight 0.3 in the loss."""
    head = pool, conv(128, 1), Flatten("chw"), Dense(1024), ReLU, Dropout(0.7), Dense(classes)
    return {"inception_4a": (head, 0.3), "inception_4d": (head, 0.3)}


def head(dropout: float, classes: int = 1000) -> Part:
    return GlobalAvgPool, Dropout(dropout), Dense(classes)


NETWORKS = {
    "googlenet": Network(
        "googlenet",
        {
            "conv1": (normalised(64, 7, 2), POOL),
            "conv2": (normalised(64, 1), normalised(192, 3), POOL),
            **inceptions(normalised, 3, MaxPool(2, 2, pad="ceil", fill="0")),
            "head": head(0.2),
        },
        (224, 224, 3),
        "GoogLeNet with batch norm",
        f"{PAPER}, as in torchvision",
        aux=auxiliary(AdaptiveAvgPool(4), normalised),
    ),
    "googlenet_2014": Network(
        "googlenet_2014",
        {
            "conv1": (biased(64, 7, 2), POOL, LRN(k=1.0, alpha=1e-4 / 5)),
            "conv2": (biased(64, 1), biased(192, 3), LRN(k=1.0, alpha=1e-4 / 5), POOL),
            **inceptions(biased, 5, POOL),
            "head": head(0.4),
        },
        (224, 224, 3),
        "GoogLeNet, the original",
        PAPER,
        aux=auxiliary(AvgPool(5, 3), biased),
    ),
}
