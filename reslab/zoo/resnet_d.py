"""He et al. 2018, "Bag of Tricks for Image Classification" (arXiv 1812.01187): ResNet-D."""

from __future__ import annotations

from dataclasses import replace

from reslab.spec import BN, AvgPool, Block, Conv, Network, Part, ReLU, Residual
from reslab.zoo.resnet import IMAGENET, imagenet

PAPER = "He et al. 2018, arXiv 1812.01187"


def averaged(block: Block) -> Block:
    """The shortcut of ResNet-D: an average over 2x2 has the stride, so no input is skipped."""

    def pooled(width: int, stride: int = 1) -> Residual:
        unit = block(width, stride)
        assert isinstance(unit, Residual)
        if stride == 1:
            return unit
        assert isinstance(unit.shortcut, tuple)
        projection, *rest = unit.shortcut
        assert isinstance(projection, Conv)
        mean = AvgPool(
            stride, stride, pad="same"
        )  # in odd maps the last mean is over fewer numbers
        return replace(unit, shortcut=(mean, replace(projection, stride=1), *rest))

    return pooled


def deep_stem(*widths: int) -> Part:
    """The stem of ResNet-C: three 3x3 convolutions for the 7x7; the first has the stride."""
    strides = 2, 1, 1
    return tuple((Conv(w, 3, s), BN(), ReLU) for w, s in zip(widths, strides, strict=True))


def _resnet_d(depth: int) -> Network:
    block, *units = IMAGENET[depth]
    rows = {**imagenet(averaged(block), *units), "conv1": deep_stem(32, 32, 64)}
    return Network(f"resnet{depth}_d", rows, (224, 224, 3), f"ResNet-{depth}-D", PAPER)


NETWORKS = {network.name: network for network in map(_resnet_d, IMAGENET)}
