"""Networks of keras.applications, timm and KerasHub where they differ from those of the papers.

Sources: keras 3.15 (`applications/resnet.py`, `densenet.py`), timm 1.0 (`models/resnetv2.py`) and
keras-hub 0.32 (`models/resnet`, `models/densenet`). Their weights need exactly these networks.
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
    """The unit of v1: stride in the first 1x1, and a bias in every convolution."""
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
    """The last unit has the stride; its shortcut subsamples the input before the activation."""
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
    """The max pool pads with zeros, although no ReLU comes before it."""
    return {
        "conv1": Conv(64, 7, 2, bias=True),
        "conv2_x": (MaxPool(3, 2, fill="0"), keras_v2_stage(64, n2, 2)),
        "conv3_x": keras_v2_stage(128, n3, 2),
        "conv4_x": keras_v2_stage(256, n4, 2),
        "conv5_x": keras_v2_stage(512, n5, 1),
        "head": (keras_bn(), ReLU, GlobalAvgPool, Dense(1000)),
    }


def timm_resnet_v2(n2: int, n3: int, n4: int, n5: int) -> dict[str, Part]:
    """No BN before the pool; every unit has its own pre-activation."""
    return {
        "conv1": Conv(64, 7, 2),
        "conv2_x": (MaxPool(3, 2), stage(preact, 64, n2)),
        "conv3_x": stage(preact, 128, n3, 2),
        "conv4_x": stage(preact, 256, n4, 2),
        "conv5_x": stage(preact, 512, n5, 2),
        "head": (BN(), ReLU, GlobalAvgPool, Dense(1000)),
    }


def projected(net: Network) -> dict[str, Part]:
    """A projection in the first unit too, which keeps the shape: KerasHub's vd 18 and 34."""
    pool, (first, more) = net.rows["conv2_x"]  # type: ignore[misc]
    assert isinstance(first, Residual)
    return {**net.rows, "conv2_x": (pool, (replace(first, when="always"), more))}


def _network(name: str, rows: dict[str, Part], title: str, source: str) -> Network:
    return Network(name, rows, (224, 224, 3), title, source)


def _networks() -> list[Network]:
    nets = []
    for depth in (50, 101, 152):
        units = resnet.IMAGENET[depth][1:]
        label = f"ResNet-{depth}"
        nets += [
            _network(f"keras_resnet{depth}", keras_resnet(*units), f"Keras's {label}", KERAS),
            _network(
                f"keras_resnet{depth}_v2", keras_resnet_v2(*units), f"Keras's {label} V2", KERAS
            ),
            _network(f"timm_resnet{depth}_v2", timm_resnet_v2(*units), f"timm's {label} v2", TIMM),
        ]
    for depth in (18, 34):
        rows = projected(resnet_d.NETWORKS[f"resnet{depth}_d"])
        nets.append(
            _network(f"keras_hub_resnet{depth}_d", rows, f"KerasHub's ResNet-{depth}-D", HUB)
        )
    for depth in (121, 169, 201):
        shape, label = densenet.IMAGENET[depth], f"DenseNet-{depth}"
        even = densenet.imagenet(*shape, bn=keras_bn)
        asymmetric = densenet.imagenet(*shape, bn=keras_bn, pad="same")
        nets += [
            _network(f"keras_densenet{depth}", even, f"Keras's {label}", KERAS),
            _network(f"keras_hub_densenet{depth}", asymmetric, f"KerasHub's {label}", HUB),
        ]
    return nets


NETWORKS = {network.name: network for network in _networks()}
