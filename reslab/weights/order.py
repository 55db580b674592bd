"""The order in which Keras lists the layers of a functional model; its files go by it."""

from __future__ import annotations

from collections.abc import Sequence

from reslab.spec import Layer


def by_depth(layers: Sequence[Layer]) -> list[str]:
    """Paths, farthest from the output first; of equally far ones the shortcut's before the body's.

    So `Functional` sorts (Keras 3.15.1, `functional.py`, `map_graph`), where a sum is written
    `Add()([shortcut, body])`, as keras.applications and KerasHub write it.
    """
    depth = {layers[-1].path: 0} if layers else {}
    for layer in reversed(layers):
        mine = depth.get(layer.path, 0)
        for before in layer.inputs:
            depth[before] = max(depth.get(before, 0), mine + 1)

    def rank(layer: Layer) -> tuple[int, bool]:
        return -depth.get(layer.path, 0), "_shortcut_" not in layer.path

    return [layer.path for layer in sorted(layers, key=rank)]
