"""The order in which Keras lists the layers of a functional model; its files go by it."""

from __future__ import annotations

from collections.abc import Sequence

from reslab.spec import Add, Layer


def by_depth(layers: Sequence[Layer], shortcut_first: bool) -> list[str]:
    """Paths, farthest from the output first; of equally far ones, those before a sum's first term.

    So `Functional` sorts (Keras 3.15.1, `ops/function.py`, `map_graph`). keras.applications and
    KerasHub write `Add()([shortcut, body])`, reslab the other way round.
    """
    if not layers:
        return []
    by_path = {layer.path: layer for layer in layers}
    depth = {layers[-1].path: 0}
    for layer in reversed(layers):
        mine = depth.get(layer.path, 0)
        for before in layer.inputs:
            depth[before] = max(depth.get(before, 0), mine + 1)

    met: dict[str, int] = {}
    waiting = [layers[-1].path]
    while waiting:
        path = waiting.pop()
        if path in met or path not in by_path:
            continue
        met[path] = len(met)
        inputs = list(by_path[path].inputs)
        if not (shortcut_first and isinstance(by_path[path].part, Add)):
            inputs.reverse()  # the last one in is the next one out
        waiting += inputs
    return sorted(met, key=lambda path: (-depth[path], met[path]))
