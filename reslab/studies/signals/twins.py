"""A residual network, its plain twin, and both without batch norm, with the same kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras

from reslab.models import build
from reslab.spec import Network
from reslab.spec.transforms import plain, without_bn
from reslab.studies import units


@dataclass(frozen=True)
class Twin:
    network: Network
    kind: str  # "residual", "plain"
    bn: bool

    @property
    def label(self) -> str:
        return f"{self.kind}, {'with' if self.bn else 'without'} BN"


def twins(network: Network) -> list[Twin]:
    """Return the four twins, or two where the network has no batch norm."""
    pair = [Twin(network, "residual", True), Twin(plain(network), "plain", True)]
    bare = [replace(twin, network=without_bn(twin.network), bn=False) for twin in pair]
    return pair + [b for a, b in zip(pair, bare, strict=True) if a.network.rows != b.network.rows]


def initialised(twin: Network, network: Network, seed: int) -> keras.Model:
    """Return the twin with the initial kernels of `network`.

    They are copied: initial values come from one random sequence in the order of the layers, so an
    additional projection would change all kernels after it.
    """
    keras.utils.set_random_seed(seed)
    model = build.create(network)
    if twin is network:
        return model
    originals, twin_model = _kernels(network, model), build.create(twin)
    for key, kernel in _kernels(twin, twin_model).items():
        kernel.assign(originals[key])
    return twin_model


def _kernels(network: Network, model: keras.Model) -> dict[tuple[bool, int], Any]:
    """The kernels by (on a shortcut, index among those), which twins have in common."""
    kernels: dict[tuple[bool, int], Any] = {}
    for shortcut in (False, True):
        layers = [each for each in units.kernel_layers(network) if each.shortcut is shortcut]
        for index, layer in enumerate(layers):
            kernels[shortcut, index] = model.get_layer(layer.path).kernel
    return kernels
