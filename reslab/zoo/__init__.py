"""The networks by name. One page per paper; nothing here knows of Keras."""

from __future__ import annotations

from collections.abc import Mapping

from reslab.errors import unknown
from reslab.spec import Network
from reslab.zoo import characters, identity_mappings, resnet

PAGES = resnet, identity_mappings, characters
NETWORKS: Mapping[str, Network] = {
    name: network for page in PAGES for name, network in page.NETWORKS.items()
}


def network(name: str) -> Network:
    """The network of this name; raises UserError with the nearest name there is."""
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name]
