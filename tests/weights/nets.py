"""Nets of the libraries that the zoo has not: described here, so that their names are tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from reslab.spec import (
    BN,
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
    Repeat,
    Residual,
    stage,
)
from reslab.zoo.identity_mappings import preact
from reslab.zoo.resnet import imagenet

UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
DENSE = {121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def keras_bn() -> BN:
    return BN(momentum=0.99, epsilon=1.001e-5)


# Residual ---------------------------------------------------------------------------------------


def keras_v1(width: int, stride: int = 1) -> Residual:
    """keras.applications, ResNet50: stride in the first 1x1, biases everywhere."""
    body = (
        (Conv(width, 1, stride, bias=True), keras_bn(), ReLU),
        (Conv(width, 3, bias=True), keras_bn(), ReLU),
        (Conv(4 * width, 1, bias=True), keras_bn()),
    )
    shortcut = Conv(4 * width, 1, stride, bias=True), keras_bn()
    return Residual(body, shortcut, tail=(ReLU,))


def keras_v2_body(width: int, stride: int) -> Part:
    one, two = Conv(width, 1), Conv(width, 3, stride)
    return one, keras_bn(), ReLU, two, keras_bn(), ReLU, Conv(4 * width, 1, bias=True)


def keras_v2_stage(width: int, units: int, stride: int) -> Part:
    """The last unit strides, and its shortcut picks from its own input, not yet activated."""
    shortcut = Conv(4 * width, 1, bias=True)
    unit = Residual(keras_v2_body(width, 1), shortcut, lead=(keras_bn(), ReLU))
    last = Residual(
        (keras_bn(), ReLU, keras_v2_body(width, stride)), shortcut=MaxPool(1, stride, pad=0)
    )
    return unit, Repeat(unit, units - 2), last


def keras_resnet(depth: int) -> dict[str, Part]:
    n2, n3, n4, n5 = UNITS[depth]
    return {
        "conv1": (Conv(64, 7, 2, bias=True), keras_bn(), ReLU),
        "conv2_x": (MaxPool(3, 2, fill="0"), stage(keras_v1, 64, n2)),
        "conv3_x": stage(keras_v1, 128, n3, 2),
        "conv4_x": stage(keras_v1, 256, n4, 2),
        "conv5_x": stage(keras_v1, 512, n5, 2),
        "head": (GlobalAvgPool, Dense(1000)),
    }


def keras_resnet_v2(depth: int) -> dict[str, Part]:
    """Zeros around maps that are not yet rectified, before the maximum."""
    n2, n3, n4, n5 = UNITS[depth]
    return {
        "conv1": Conv(64, 7, 2, bias=True),
        "conv2_x": (MaxPool(3, 2, fill="0"), keras_v2_stage(64, n2, 2)),
        "conv3_x": keras_v2_stage(128, n3, 2),
        "conv4_x": keras_v2_stage(256, n4, 2),
        "conv5_x": keras_v2_stage(512, n5, 1),
        "head": (keras_bn(), ReLU, GlobalAvgPool, Dense(1000)),
    }


def timm_resnet_v2(depth: int) -> dict[str, Part]:
    """timm's resnetv2 and KerasHub's: no norm before the pool, and every unit activates."""
    n2, n3, n4, n5 = UNITS[depth]
    return {
        "conv1": Conv(64, 7, 2),
        "conv2_x": (MaxPool(3, 2), stage(preact, 64, n2)),
        "conv3_x": stage(preact, 128, n3, 2),
        "conv4_x": stage(preact, 256, n4, 2),
        "conv5_x": stage(preact, 512, n5, 2),
        "head": (BN(), ReLU, GlobalAvgPool, Dense(1000)),
    }


def resnet_d(depth: int, projected: bool = False) -> dict[str, Part]:
    """Three 3x3 in the stem; a mean before the shortcut's projection.

    `projected`: the first unit too, though its shape stays (KerasHub's 18 and 34).
    """

    def block(width: int, stride: int = 1) -> Residual:
        pool = (AvgPool(2, 2),) if stride > 1 else ()
        if depth < 50:
            body: Part = Conv(width, 3, stride), BN(), ReLU, Conv(width, 3), BN()
            return Residual(body, (*pool, Conv(width, 1), BN()), tail=(ReLU,))
        body = (Conv(width, 1), BN(), ReLU), (Conv(width, 3, stride), BN(), ReLU)
        body = body, Conv(4 * width, 1), BN()
        return Residual(body, (*pool, Conv(4 * width, 1), BN()), tail=(ReLU,))

    stem = tuple((Conv(w, 3, s), BN(), ReLU) for w, s in ((32, 2), (32, 1), (64, 1)))
    rows = {**imagenet(block, *UNITS[depth]), "conv1": stem}
    if projected:
        first = replace(block(64), when="always")
        units = first, Repeat(block(64), UNITS[depth][0] - 1)
        rows["conv2_x"] = MaxPool(3, 2, fill="0"), units
    return rows


def resnext(depth: int, groups: int, each: int) -> dict[str, Part]:
    """groups=1 and each=128 is a wide net."""

    def block(width: int, stride: int = 1) -> Residual:
        inner = groups * each * width // 64
        body = (
            (Conv(inner, 1), BN(), ReLU),
            (Conv(inner, 3, stride, groups=groups), BN(), ReLU),
            (Conv(4 * width, 1), BN()),
        )
        return Residual(body, (Conv(4 * width, 1, stride), BN()), tail=(ReLU,))

    return imagenet(block, *UNITS[depth])


# Dense, Inception, chains -----------------------------------------------------------------------


def densenet(
    depth: int, growth: int = 32, bn: Callable[[], BN] = BN, pad: str = "even"
) -> dict[str, Part]:
    layer = Concat(
        ((), (bn(), ReLU, Conv(4 * growth, 1), bn(), ReLU, Conv(growth, 3))),
    )
    width = 2 * growth
    rows: dict[str, Part] = {
        "conv1": (Conv(width, 7, 2, pad=pad), bn(), ReLU, MaxPool(3, 2, pad=pad))
    }
    for i, n in enumerate(DENSE[depth], 1):
        rows[f"dense{i}"] = Repeat(layer, n)
        width += n * growth
        if i < len(DENSE[depth]):
            width //= 2
            rows[f"transition{i}"] = bn(), ReLU, Conv(width, 1), AvgPool(2, 2)
    rows["head"] = bn(), ReLU, GlobalAvgPool, Dense(1000)
    return rows


def googlenet() -> dict[str, Part]:
    """torchvision's: with batch norm, a 3x3 for the 5x5, and pools that round up."""

    def conv(width: int, kernel: int, stride: int = 1) -> Part:
        return Conv(width, kernel, stride), BN(epsilon=1e-3), ReLU

    def inception(a: int, b1: int, b2: int, c1: int, c2: int, d: int) -> Part:
        pooled = MaxPool(3, 1), conv(d, 1)
        return Concat((conv(a, 1), (conv(b1, 1), conv(b2, 3)), (conv(c1, 1), conv(c2, 3)), pooled))

    up = MaxPool(3, 2, pad="same")
    return {
        "conv1": (conv(64, 7, 2), up),
        "conv2": (conv(64, 1), conv(192, 3), up),
        "inception_3a": inception(64, 96, 128, 16, 32, 32),
        "inception_3b": (inception(128, 128, 192, 32, 96, 64), up),
        "inception_4a": inception(192, 96, 208, 16, 48, 64),
        "inception_4b": inception(160, 112, 224, 24, 64, 64),
        "inception_4c": inception(128, 128, 256, 24, 64, 64),
        "inception_4d": inception(112, 144, 288, 32, 64, 64),
        "inception_4e": (inception(256, 160, 320, 32, 128, 128), MaxPool(2, 2, pad="same")),
        "inception_5a": inception(256, 160, 320, 32, 128, 128),
        "inception_5b": inception(384, 192, 384, 48, 128, 128),
        "head": (GlobalAvgPool, Dropout(0.2), Dense(1000)),
    }


def vgg(depth: int, norm: bool = False, order: str = "chw") -> dict[str, Part]:
    def conv(width: int) -> Part:
        return (Conv(width, 3, bias=True), *((BN(),) if norm else ()), ReLU)

    widths = 64, 128, 256, 512, 512
    rows: dict[str, Part] = {
        f"conv{i}": (*(conv(width),) * n, MaxPool(2, 2))
        for i, (n, width) in enumerate(zip(VGG[depth], widths, strict=True), 1)
    }
    hidden = Dense(4096), ReLU, Dropout(0.5)
    return {**rows, "head": (Flatten(order), hidden, hidden, Dense(1000))}


def alexnet() -> dict[str, Part]:
    """torchvision's: one tower, no normalisation."""
    pool, hidden = MaxPool(3, 2, pad=0), (Dropout(0.5), Dense(4096), ReLU)
    return {
        "conv1": (Conv(64, 11, 4, pad=2, bias=True), ReLU, pool),
        "conv2": (Conv(192, 5, bias=True), ReLU, pool),
        "conv3": (Conv(384, 3, bias=True), ReLU),
        "conv4": (Conv(256, 3, bias=True), ReLU),
        "conv5": (Conv(256, 3, bias=True), ReLU, pool),
        "head": (Flatten("chw"), hidden, hidden, Dense(1000)),
    }


ROWS: Mapping[str, Callable[[], dict[str, Part]]] = {
    **{f"keras_resnet{d}": lambda d=d: keras_resnet(d) for d in (50, 101, 152)},
    **{f"keras_resnet{d}_v2": lambda d=d: keras_resnet_v2(d) for d in (50, 101, 152)},
    **{f"timm_resnet{d}_v2": lambda d=d: timm_resnet_v2(d) for d in (50, 101, 152)},
    **{f"resnet{d}_d": lambda d=d: resnet_d(d) for d in UNITS},
    **{f"keras_hub_resnet{d}_d": lambda d=d: resnet_d(d, projected=True) for d in (18, 34)},
    **{f"densenet{d}": lambda d=d: densenet(d, 48 if d == 161 else 32) for d in DENSE},
    **{f"keras_densenet{d}": lambda d=d: densenet(d, bn=keras_bn) for d in (121, 169, 201)},
    **{
        f"keras_hub_densenet{d}": lambda d=d: densenet(d, bn=keras_bn, pad="same")
        for d in (121, 169, 201)
    },
    **{f"vgg{d}": lambda d=d: vgg(d) for d in VGG},
    **{f"vgg{d}_bn": lambda d=d: vgg(d, norm=True) for d in VGG},
    **{f"keras_vgg{d}": lambda d=d: vgg(d, order="hwc") for d in VGG},
    "resnext50_32x4d": lambda: resnext(50, 32, 4),
    "resnext101_32x8d": lambda: resnext(101, 32, 8),
    "resnext101_64x4d": lambda: resnext(101, 64, 4),
    "wide_resnet50_2": lambda: resnext(50, 1, 128),
    "wide_resnet101_2": lambda: resnext(101, 1, 128),
    "googlenet": googlenet,
    "alexnet": alexnet,
}


def described(name: str) -> Network:
    return Network(name, ROWS[name](), (224, 224, 3))
