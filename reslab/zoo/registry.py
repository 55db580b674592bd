"""The networks by name, from one page per paper."""

from __future__ import annotations

from collections.abc import Mapping

from reslab.core.errors import UserError, unknown
from reslab.spec import Network
from reslab.zoo import (
    alexnet,
    characters,
    densenet,
    googlenet,
    identity_mappings,
    other_libraries,
    resnet,
    resnet_d,
    resnext,
    senet,
    stochastic_depth,
    vgg,
    wide_resnet,
)

PAGES = (  # in the order of the deck, then later papers, then variants of other libraries
    alexnet,
    vgg,
    googlenet,
    resnet,
    identity_mappings,
    characters,
    resnext,
    wide_resnet,
    resnet_d,
    senet,
    stochastic_depth,
    densenet,
    other_libraries,
)
NETWORKS: Mapping[str, Network] = {
    name: network for page in PAGES for name, network in page.NETWORKS.items()
}


def network(name: str | Network) -> Network:
    """Return the network of this name.

    Args:
        name: A name of `reslab list`, such as "resnet50". A `Network` is returned unchanged.

    Returns:
        The network.

    Raises:
        UserError: There is no such network. The message suggests the most similar name.
    """
    if isinstance(name, Network):
        return name
    if not isinstance(name, str):
        raise UserError(f"a network is a name of `reslab list` or a reslab.Network, not {name!r}")
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name]
