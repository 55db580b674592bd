"""Huang et al. 2016, "Deep Networks with Stochastic Depth" (arXiv 1603.09382)."""

from __future__ import annotations

from dataclasses import replace

from reslab.spec import Network
from reslab.spec.transforms import stochastic
from reslab.zoo.resnet import cifar, option_a

PAPER = "Huang et al. 2016, arXiv 1603.09382"


def _stochastic(depth: int, n: int) -> Network:
    """The survival probability of the last unit is 0.5, as in Sec. 4."""
    name, title = f"resnet{depth}_stochastic", f"ResNet-{depth} for CIFAR with stochastic depth"
    net = Network(name, cifar(option_a, n), (32, 32, 3), title, PAPER)
    return replace(stochastic(net), name=name)


NETWORKS = {network.name: network for network in (_stochastic(110, 18),)}
