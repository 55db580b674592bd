"""The CIFAR networks of He et al. 2015 at any depth and width."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reslab.core.errors import UserError
from reslab.spec import Network, Part
from reslab.spec.parts import Conv, ZeroPadShortcut
from reslab.spec.transforms import plain, transform
from reslab.zoo.resnet import PAPER, cifar, option_a


@dataclass(frozen=True)
class Case:
    """A network, and its name in the study."""

    name: str
    network: Network


def units(depth: int) -> int:
    """n of 6n + 2 layers (He et al. 2015, Sec. 4.2). UserError for any other depth."""
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        near = 6 * max(1, round((depth - 2) / 6)) + 2
        raise UserError(f"depth {depth}: these nets have 6n + 2 layers, such as {near}")
    return n


def residual(depth: int) -> Network:
    """ResNet with option A, which has the same parameters as the plain network (Sec. 4.2)."""
    title = f"ResNet-{depth} for CIFAR, option A"
    rows = cifar(option_a, units(depth))
    return Network(f"resnet{depth}", rows, (32, 32, 3), title, f"{PAPER}, Sec. 4.2")


def twins(depth: int) -> tuple[Network, Network]:
    """The plain network and the residual one."""
    net = residual(depth)
    return replace(
        plain(net), name=f"plain{depth}", title=f"plain-{depth} for CIFAR", source=PAPER
    ), net


def widened(network: Network, factor: float) -> Network:
    """The network with `factor` times the filters in every convolution, at least one."""
    if factor == 1:
        return network

    def rule(part: Part) -> Part:
        if isinstance(part, Conv):
            return replace(part, filters=max(1, round(factor * part.filters)))
        if isinstance(part, ZeroPadShortcut):
            return replace(part, channels=max(1, round(factor * part.channels)))
        return part

    title = f"{network.title}, {factor:g} times the filters"
    return transform(network, rule, name=f"{network.name}_w{factor:g}", title=title)
