"""Hu et al. 2017, "Squeeze-and-Excitation Networks" (arXiv 1709.01507)."""

from __future__ import annotations

from dataclasses import replace

from reslab.spec import Block, Conv, GlobalAverage, Multiply, Network, ReLU, Residual, Sigmoid
from reslab.zoo.resnet import IMAGENET, bottleneck, imagenet

PAPER = "Hu et al. 2017, arXiv 1709.01507"


def squeezed(block: Block, ratio: int = 16) -> Block:
    """Fig. 3: before the sum, the maps of the body are scaled by a function of their means."""

    def scaled(width: int, stride: int = 1) -> Residual:
        unit = block(width, stride)
        assert isinstance(unit, Residual)
        out = 4 * width if block is bottleneck else width
        excite = (
            (GlobalAverage(keep=True), Conv(out // ratio, 1, bias=True), ReLU),
            (Conv(out, 1, bias=True), Sigmoid),
        )
        scale = Residual(excite, shortcut=(), join=Multiply())
        return replace(unit, body=(unit.body, scale))

    return scaled


def _seresnet(depth: int) -> Network:
    block, *units = IMAGENET[depth]
    rows = imagenet(squeezed(block), *units)
    return Network(f"seresnet{depth}", rows, (224, 224, 3), f"SE-ResNet-{depth}", PAPER)


NETWORKS = {network.name: network for network in map(_seresnet, IMAGENET)}
