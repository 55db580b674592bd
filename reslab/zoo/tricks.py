"""What was added to ResNet later: ResNet-D, squeeze-and-excitation, stochastic depth.

He et al. 2018, "Bag of Tricks" (arXiv 1812.01187); Hu et al. 2017, "Squeeze-and-Excitation"
(arXiv 1709.01507); Huang et al. 2016, "Deep Networks with Stochastic Depth" (arXiv 1603.09382).
"""

from __future__ import annotations

from dataclasses import replace

from reslab.spec import (
    BN,
    AvgPool,
    Block,
    Conv,
    GlobalAverage,
    Multiply,
    Network,
    Part,
    ReLU,
    Residual,
    Sigmoid,
)
from reslab.transforms import stochastic
from reslab.zoo.resnet import IMAGENET, bottleneck, cifar, imagenet, option_a

TRICKS = "He et al. 2018, arXiv 1812.01187"
SENET = "Hu et al. 2017, arXiv 1709.01507"
STOCHASTIC = "Huang et al. 2016, arXiv 1603.09382"


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


def squeezed(block: Block, ratio: int = 16) -> Block:
    """Hu 2017, Fig. 3: the body's maps are weighed by what their means say, before the sum."""

    def weighed(width: int, stride: int = 1) -> Residual:
        unit = block(width, stride)
        assert isinstance(unit, Residual)
        out = 4 * width if block is bottleneck else width
        excite = (
            (GlobalAverage(keep=True), Conv(out // ratio, 1, bias=True), ReLU),
            (Conv(out, 1, bias=True), Sigmoid),
        )
        weigh = Residual(excite, shortcut=(), join=Multiply())
        return replace(unit, body=(unit.body, weigh))

    return weighed


def _resnet_d(depth: int) -> Network:
    block, *units = IMAGENET[depth]
    rows = {**imagenet(averaged(block), *units), "conv1": deep_stem(32, 32, 64)}
    return Network(f"resnet{depth}_d", rows, (224, 224, 3), f"ResNet-{depth}-D", TRICKS)


def _seresnet(depth: int) -> Network:
    block, *units = IMAGENET[depth]
    rows = imagenet(squeezed(block), *units)
    return Network(f"seresnet{depth}", rows, (224, 224, 3), f"SE-ResNet-{depth}", SENET)


def _stochastic(depth: int, n: int) -> Network:
    """Survival 0.5 at the last unit, as in Sec. 4."""
    name, title = f"resnet{depth}_stochastic", f"ResNet-{depth} for CIFAR with stochastic depth"
    net = Network(name, cifar(option_a, n), (32, 32, 3), title, STOCHASTIC)
    return replace(stochastic(net), name=name)


NETWORKS = {
    network.name: network
    for network in (
        *(_resnet_d(depth) for depth in IMAGENET),
        *(_seresnet(depth) for depth in IMAGENET),
        _stochastic(110, 18),
    )
}
