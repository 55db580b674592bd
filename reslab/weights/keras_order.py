"""The order in which Keras lists the layers of a functional model, and stores them in files."""

from __future__ import annotations

from collections.abc import Sequence

from reslab.spec import Add, Layer


def by_depth(layers: Sequence[Layer], shortcut_first: bool) -> list[str]:
    """Layer paths by their distance from the output, the farthest first.

    At equal distance the layers before the first term of a sum come first. `keras.Functional`
    sorts in this way (Keras 3.15.1, `ops/function.py`, `map_graph`). `shortcut_first` says how sums
    are written: keras.applications and KerasHub write `Add()([shortcut, body])`, reslab writes
    `Add()([body, shortcut])`.
    """
    if not layers:
        return []
    by_path = {layer.path: layer for layer in layers}
    depth = {layers[-1].path: 0}
    for layer in reversed(layers):
        layer_depth = depth.get(layer.path, 0)
        for before in layer.inputs:
            depth[before] = max(depth.get(before, 0), layer_depth + 1)

    visits: dict[str, int] = {}
    stack = [layers[-1].path]
    while stack:
        path = stack.pop()
        if path in visits or path not in by_path:
            continue
        visits[path] = len(visits)
        inputs = list(by_path[path].inputs)
        if not (shortcut_first and isinstance(by_path[path].part, Add)):
            inputs.reverse()  # the last one pushed is the first one popped
        stack += inputs
    return sorted(visits, key=lambda path: (-depth[path], visits[path]))
