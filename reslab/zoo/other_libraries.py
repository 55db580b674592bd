"""Nets as keras.applications, timm and KerasHub have them, where these differ from the papers'.

Read in keras 3.15 (`applications/resnet.py`, `densenet.py`), timm 1.0 (`models/resnetv2.py`) and
keras-hub 0.32 (`models/resnet`, `models/densenet`): their weights need these nets to be right in.
"""

from __future__ import annotations

from dataclasses import replace

from reslab.spec import (
    BN,
    Conv,
    Dense,
    GlobalAvgPool,
    MaxPool,
    Network,
    Part,
    ReLU,
    Repeat,
    Residual,
    stage,
)
from reslab.zoo import densenet, resnet, resnet_d
from reslab.zoo.identity_mappings import preact

KERAS = "keras.applications (Keras 3.15)"
TIMM = "timm 1.0, resnetv2; KerasHub 0.32, resnet_v2"
HUB = "KerasHub 0.32"


def keras_bn() -> BN:
    return BN(momentum=0.99, epsilon=1.001e-5)


def keras_v1(width: int, stride: int = 1) -> Residual:
    """v1, stride in the first 1x1, and a bias in every convolution."""
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


def keras_resnet(n2: int, n3: int, n4: int, n5: int) -> dict[str, Part]:
    return {
        "conv1": (Conv(64, 7, 2, bias=True), keras_bn(), ReLU),
        "conv2_x": (MaxPool(3, 2, fill="0"), stage(keras_v1, 64, n2)),
        "conv3_x": stage(keras_v1, 128, n3, 2),
        "conv4_x": stage(keras_v1, 256, n4, 2),
        "conv5_x": stage(keras_v1, 512, n5, 2),
        "head": (GlobalAvgPool, Dense(1000)),
    }


def keras_resnet_v2(n2: int, n3: int, n4: int, n5: int) -> dict[str, Part]:
    """Zeros around maps that are not yet rectified, before the maximum."""
    return {
        "conv1": Conv(64, 7, 2, bias=True),
        "conv2_x": (MaxPool(3, 2, fill="0"), keras_v2_stage(64, n2, 2)),
        "conv3_x": keras_v2_stage(128, n3, 2),
        "conv4_x": keras_v2_stage(256, n4, 2),
        "conv5_x": keras_v2_stage(512, n5, 1),
        "head": (keras_bn(), ReLU, GlobalAvgPool, Dense(1000)),
    }


def timm_resnet_v2(n2: int, n3: int, n4: int, n5: int) -> dict[str, Part]:
    """No norm before the pool, and every unit activates for itself."""
    return {
        "conv1": Conv(64, 7, 2),
        "conv2_x": (MaxPool(3, 2), stage(preact, 64, n2)),
        "conv3_x": stage(preact, 128, n3, 2),
        "conv4_x": stage(preact, 256, n4, 2),
        "conv5_x": stage(preact, 512, n5, 2),
        "head": (BN(), ReLU, GlobalAvgPool, Dense(1000)),
    }


def projected(net: Network) -> dict[str, Part]:
    """A projection in the very first unit too, though its shape stays: KerasHub's vd 18 and 34."""
    pool, (first, more) = net.rows["conv2_x"]  # type: ignore[misc]
    assert isinstance(first, Residual)
    return {**net.rows, "conv2_x": (pool, (replace(first, when="always"), more))}


def _network(name: str, rows: dict[str, Part], title: str, source: str) -> Network:
    return Network(name, rows, (224, 224, 3), title, source)


def _networks() -> list[Network]:
    nets = []
    for depth in (50, 101, 152):
        units = resnet.IMAGENET[depth][1:]
        named = f"ResNet-{depth}"
        nets += [
            _network(f"keras_resnet{depth}", keras_resnet(*units), f"Keras's {named}", KERAS),
            _network(
                f"keras_resnet{depth}_v2", keras_resnet_v2(*units), f"Keras's {named} V2", KERAS
            ),
            _network(f"timm_resnet{depth}_v2", timm_resnet_v2(*units), f"timm's {named} v2", TIMM),
        ]
    for depth in (18, 34):
        rows = projected(resnet_d.NETWORKS[f"resnet{depth}_d"])
        nets.append(
            _network(f"keras_hub_resnet{depth}_d", rows, f"KerasHub's ResNet-{depth}-D", HUB)
        )
    for depth in (121, 169, 201):
        shape, named = densenet.IMAGENET[depth], f"DenseNet-{depth}"
        evenly = densenet.imagenet(*shape, bn=keras_bn)
        lopsided = densenet.imagenet(*shape, bn=keras_bn, pad="same")
        nets += [
            _network(f"keras_densenet{depth}", evenly, f"Keras's {named}", KERAS),
            _network(f"keras_hub_densenet{depth}", lopsided, f"KerasHub's {named}", HUB),
        ]
    return nets


NETWORKS = {network.name: network for network in _networks()}
