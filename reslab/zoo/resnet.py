"""He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition" (arXiv 1512.03385)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reslab.spec import (
    BN,
    Block,
    Conv,
    Dense,
    GlobalAvgPool,
    MaxPool,
    Network,
    Part,
    ReLU,
    Residual,
    ZeroPadShortcut,
    stage,
)
from reslab.spec.transforms import plain

PAPER = "He et al. 2015, arXiv 1512.03385"


def basic(width: int, stride: int = 1) -> Residual:
    """Fig. 5 left: two 3x3 convolutions, and a projection where the shape changes (option B)."""
    body = Conv(width, 3, stride), BN(), ReLU, Conv(width, 3), BN()
    return Residual(body, shortcut=(Conv(width, 1, stride), BN()), tail=(ReLU,))


def option_a(width: int, stride: int = 1) -> Residual:
    """Sec. 3.3: the shortcut appends channels of zeros where the shape changes; no parameters."""
    return replace(basic(width, stride), shortcut=ZeroPadShortcut(width, stride))


def option_c(width: int, stride: int = 1) -> Residual:
    """Sec. 4.1: every shortcut is a projection."""
    return replace(basic(width, stride), when="always")


def bottleneck(width: int, stride: int = 1) -> Residual:
    """Fig. 5 right, stride in the 3x3: the usual form since fb.resnet.torch (v1.5)."""
    body = Conv(width, 1), BN(), ReLU, Conv(width, 3, stride), BN(), ReLU, Conv(4 * width, 1), BN()
    return Residual(body, shortcut=(Conv(4 * width, 1, stride), BN()), tail=(ReLU,))


def bottleneck_v1(width: int, stride: int = 1) -> Residual:
    """Fig. 5 right, stride in the first 1x1, as in the paper (v1)."""
    body = Conv(width, 1, stride), BN(), ReLU, Conv(width, 3), BN(), ReLU, Conv(4 * width, 1), BN()
    return Residual(body, shortcut=(Conv(4 * width, 1, stride), BN()), tail=(ReLU,))


def imagenet(
    block: Block, n2: int, n3: int, n4: int, n5: int, classes: int = 1000
) -> dict[str, Part]:
    """The rows of Table 1, for `n2` to `n5` units in the stages."""
    return {
        "conv1": (Conv(64, 7, 2), BN(), ReLU),
        "conv2_x": (MaxPool(3, 2, fill="0"), stage(block, 64, n2)),
        "conv3_x": stage(block, 128, n3, 2),
        "conv4_x": stage(block, 256, n4, 2),
        "conv5_x": stage(block, 512, n5, 2),
        "head": (GlobalAvgPool, Dense(classes)),
    }


def cifar(block: Block, n: int, classes: int = 10) -> dict[str, Part]:
    """Sec. 4.2: 6n + 2 layers on maps of 32, 16 and 8."""
    return {
        "conv1": (Conv(16, 3), BN(), ReLU),
        "conv2_x": stage(block, 16, n),
        "conv3_x": stage(block, 32, n, 2),
        "conv4_x": stage(block, 64, n, 2),
        "head": (GlobalAvgPool, Dense(classes)),
    }


IMAGENET = {
    18: (basic, 2, 2, 2, 2),
    34: (basic, 3, 4, 6, 3),
    50: (bottleneck, 3, 4, 6, 3),
    101: (bottleneck, 3, 4, 23, 3),
    152: (bottleneck, 3, 8, 36, 3),
}
TABLE_1 = "resnet18", "resnet34", "resnet50_v1", "resnet101_v1", "resnet152_v1"
CIFAR_DEPTHS = {20: 3, 32: 5, 44: 7, 56: 9, 110: 18, 1202: 200}


def _networks() -> Mapping[str, Network]:
    nets: dict[str, Network] = {}

    def add(name: str, rows: dict[str, Part], size: int, title: str, where: str) -> None:
        nets[name] = Network(name, rows, (size, size, 3), title, f"{PAPER}, {where}")

    for depth, (block, *units) in IMAGENET.items():
        v15 = " v1.5 (stride in the 3x3)" if block is bottleneck else ""
        add(f"resnet{depth}", imagenet(block, *units), 224, f"ResNet-{depth}{v15}", "Table 1")
    for depth in (50, 101, 152):
        title = f"ResNet-{depth} v1 (stride in the first 1x1)"
        rows = imagenet(bottleneck_v1, *IMAGENET[depth][1:])
        add(f"resnet{depth}_v1", rows, 224, title, "Table 1")
    for depth in (18, 34):
        rows = imagenet(option_a, *IMAGENET[depth][1:])
        add(f"resnet{depth}_a", rows, 224, f"ResNet-{depth}, option A", "Table 3")
    add("resnet34_c", imagenet(option_c, 3, 4, 6, 3), 224, "ResNet-34, option C", "Table 3")
    for depth in (18, 34):
        twin = plain(nets[f"resnet{depth}"])
        nets[f"plain{depth}"] = replace(
            twin, name=f"plain{depth}", title=f"plain-{depth}", source=f"{PAPER}, Table 2"
        )
    for depth, n in CIFAR_DEPTHS.items():
        title = f"ResNet-{depth} for CIFAR"
        add(f"resnet{depth}", cifar(option_a, n), 32, f"{title}, option A", "Table 6")
        add(f"resnet{depth}_b", cifar(basic, n), 32, f"{title}, option B", "Sec. 4.2")
        twin = plain(nets[f"resnet{depth}"])
        nets[f"plain{depth}"] = replace(
            twin, name=f"plain{depth}", title=f"plain-{depth} for CIFAR", source=f"{PAPER}, Fig. 6"
        )
    return nets


NETWORKS = _networks()
