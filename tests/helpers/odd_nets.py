"""Networks with rare parts, and small input sizes for the networks of the zoo."""

from __future__ import annotations

import numpy as np

from reslab.spec import (
    BN,
    LRN,
    AdaptiveAvgPool,
    AvgPool,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Gate,
    GlobalAverage,
    GlobalAvgPool,
    MaxPool,
    Multiply,
    Network,
    ReLU,
    Residual,
    Scale,
    Sigmoid,
    StochasticDepth,
    ZeroPadShortcut,
)

SMALL = {
    "resnet18": (40, 40, 3),
    "resnet34_c": (33, 33, 3),
    "resnet50": (40, 36, 3),
    "resnet50_v1": (40, 40, 3),
    "resnet50_v2": (40, 40, 3),
    "plain18": (40, 40, 3),
    "resnet20": (15, 16, 1),
    "resnet20_b": (16, 16, 3),
    "plain20": (16, 16, 3),
    "resnet110_v2": (8, 8, 3),
    "resnet164_v2": (8, 8, 3),
    "characters": (28, 28, 1),
    "characters_printed": (28, 28, 1),
}


def close(a: np.ndarray, b: np.ndarray) -> None:
    """Assert that arrays agree to 1e-4 of the largest value (float32 sums in another order)."""
    assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


LATER = {  # one network of each family, only on PyTorch; `tests/weights` compares more of them
    "alexnet_2012": (99, 99, 3),
    "vgg11_bn": (32, 32, 3),
    "googlenet": (75, 64, 3),
    "googlenet_2014": (224, 224, 1),
    "resnext50_32x4d": (33, 40, 3),
    "wrn16_8": (16, 16, 3),
    "resnet18_d": (72, 72, 3),
    "seresnet18": (40, 40, 3),
    "densenet121": (40, 40, 3),
    "densenet_bc100_k12": (16, 16, 3),
    "keras_resnet50_v2": (41, 40, 3),
    "keras_hub_densenet121": (40, 41, 3),
    "resnet110_exclusive_gating": (8, 8, 3),
    "resnet110_constant_scaling": (8, 8, 3),
    "resnet110_relu_only_v2": (8, 8, 3),
}


ODD = Network(
    "odd",
    {
        "a": (Conv(6, 5, 2, bias=True), MaxPool(3, 2), BN(epsilon=1e-2), ReLU),
        "b": Concat(((), (Conv(4, 3, dilation=2), ReLU), (AvgPool(3, 1, pad=1), Conv(2, 1)))),
        "c": (MaxPool(3, 2, pad="same"), Conv(8, 3, 2, pad="same", groups=2), MaxPool(2, 2)),
        "head": (GlobalAvgPool, Dropout(0.5), Dense(3)),
    },
    (33, 30, 3),
)


EXCITE = GlobalAverage(keep=True), Conv(2, 1, bias=True), ReLU, Conv(8, 1, bias=True), Sigmoid


OPTION_A = ZeroPadShortcut(8)


RARE = Network(
    "rare",
    {
        "a": (Conv(7, 3, bias=True), LRN(alpha=0.3, k=1.0), MaxPool(3, 2, pad="ceil", fill="0")),
        "b": (
            Residual((Conv(8, 3), Scale(0.5)), (OPTION_A, Scale(0.25)), when="always"),
            Residual((Conv(8, 3), StochasticDepth(0.3)), OPTION_A, join=Gate("exclusive", -1.0)),
            Residual(Conv(8, 3), OPTION_A, join=Gate("shortcut", 1.0)),
            Residual(EXCITE, shortcut=(), join=Multiply()),
        ),
        "c": (MaxPool(2, 2, pad="ceil", fill="0"), AvgPool(2, 2, pad="same"), AdaptiveAvgPool(3)),
        "head": (Flatten("chw"), Dense(3)),
    },
    (33, 30, 3),
    aux={"b": ((GlobalAvgPool, Dense(3)), 0.3)},
)
