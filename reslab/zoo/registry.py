"""The networks by name. One page per paper; nothing here knows of Keras."""

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

PAGES = (  # as the deck goes, then what came after it, then other libraries' variants
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
    """The network of this name; a description is taken as it is.

    Raises UserError with the nearest name there is.
    """
    if isinstance(name, Network):
        return name
    if not isinstance(name, str):
        raise UserError(f"a network is a name of `reslab list` or a description, not {name!r}")
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name]
