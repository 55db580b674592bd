"""He et al. 2018, "Bag of Tricks for Image Classification" (arXiv 1812.01187): ResNet-D."""

from __future__ import annotations

from dataclasses import replace

from reslab.spec import BN, AvgPool, Block, Conv, Network, Part, ReLU, Residual
from reslab.zoo.resnet import IMAGENET, imagenet

PAPER = "He et al. 2018, arXiv 1812.01187"


def averaged(block: Block) -> Block:
    """ResNet-D's shortcut: a mean over 2x2 does the stride, and the projection sees all of it."""

    def pooled(width: int, stride: int = 1) -> Residual:
        unit = block(width, stride)
        assert isinstance(unit, Residual)
        if stride == 1:
            return unit
        assert isinstance(unit.shortcut, tuple)
        projection, *rest = unit.shortcut
        assert isinstance(projection, Conv)
        mean = AvgPool(stride, stride, pad="same")  # odd maps: the last mean is of what is there
        return replace(unit, shortcut=(mean, replace(projection, stride=1), *rest))

    return pooled


def deep_stem(*widths: int) -> Part:
    """ResNet-C's stem: three 3x3 for the 7x7, the first one with the stride."""
    strides = 2, 1, 1
    return tuple((Conv(w, 3, s), BN(), ReLU) for w, s in zip(widths, strides, strict=True))


def _resnet_d(depth: int) -> Network:
    block, *units = IMAGENET[depth]
    rows = {**imagenet(averaged(block), *units), "conv1": deep_stem(32, 32, 64)}
    return Network(f"resnet{depth}_d", rows, (224, 224, 3), f"ResNet-{depth}-D", PAPER)


NETWORKS = {network.name: network for network in map(_resnet_d, IMAGENET)}
