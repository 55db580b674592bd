"""keras.applications' names (read in Keras 3.15.1, `applications/{resnet,densenet,vgg16}.py`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reslab.core.errors import UserError
from reslab.weights.layer_paths import Place, family
from reslab.weights.schemes import Names, Scheme

WEIGHTED = "conv", "bn", "dense"


def names(places: Sequence[Place]) -> Names:
    kinds = {"residual": residual, "preact": residual, "dense": dense, "sequential": vgg}
    kind = family(places)
    if kind not in kinds:
        raise UserError("keras.applications has no net like this: use the scheme torchvision")
    weighted = [p for p in places if p.kind in WEIGHTED]
    return kinds[kind](weighted)


def residual(places: Sequence[Place]) -> Names:
    """conv1_conv, conv2_block1_0_conv (the shortcut's), conv2_block1_1_bn, post_bn, predictions."""
    found = {}
    for p in places:
        if p.row == "head":
            found[p.path] = {"bn": "post_bn", "dense": "predictions"}.get(p.kind, "")
        elif p.unit is None:
            found[p.path] = f"{p.row}_{p.kind}"
        else:
            block = f"conv{p.row_number}_block{p.unit}"
            found[p.path] = f"{block}_{role(p, 'preact')}_{p.kind}"
    return found


def role(p: Place, first: str) -> str:
    """0 for the shortcut's, `first` for a norm before all convolutions, else the convolution's."""
    if p.arm == "shortcut":
        return "0"
    if p.kind == "bn":
        return str(p.after or first)
    return str(p.number)


def dense(places: Sequence[Place]) -> Names:
    """conv2_block1_0_bn, conv2_block1_1_conv, pool2_conv, bn: the first dense block is conv2."""
    found = {}
    for p in places:
        if p.row == "head":
            found[p.path] = {"bn": "bn", "dense": "predictions"}.get(p.kind, "")
        elif p.row.startswith("transition"):
            found[p.path] = f"pool{p.row_number + 1}_{p.kind}"
        elif p.unit is None:
            found[p.path] = f"{p.row}_{p.kind}"
        else:
            number = p.after if p.kind == "bn" else p.number
            found[p.path] = f"conv{p.row_number + 1}_block{p.unit}_{number}_{p.kind}"
    return found


def vgg(places: Sequence[Place]) -> Names:
    """block1_conv1, fc1, fc2, predictions. With batch norm there is none."""
    if any(p.kind == "bn" for p in places):
        raise UserError("Keras has no chain with batch norm: use the scheme torchvision or timm")
    heads = [p for p in places if p.kind == "dense"]
    last = heads[-1].path if heads else ""
    return {
        p.path: "predictions"
        if p.path == last
        else f"fc{p.number}"
        if p.row == "head"
        else f"block{p.row_number}_conv{p.number}"
        for p in places
    }


def rename(name: str) -> str:
    """DenseNet's first layers were called `conv1/conv` and `conv1/bn` when its files were made."""
    return re.sub(r"^conv1/(conv|bn)/", r"conv1_\1/", name)


SCHEME = Scheme("keras", "keras.applications", names, rename=rename)
