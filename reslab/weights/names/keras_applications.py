"""The names of keras.applications (Keras 3.15.1, `applications/{resnet,densenet,vgg16}.py`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reslab.core.errors import UserError
from reslab.weights.layer_paths import LayerPath, family
from reslab.weights.schemes import Names, Scheme

WEIGHTED = "conv", "bn", "dense"


def names(paths: Sequence[LayerPath]) -> Names:
    kinds = {"residual": residual, "preact": residual, "dense": dense, "sequential": vgg}
    kind = family(paths)
    if kind not in kinds:
        raise UserError("keras.applications has no such network: use the scheme torchvision")
    weighted = [p for p in paths if p.kind in WEIGHTED]
    return kinds[kind](weighted)


def residual(paths: Sequence[LayerPath]) -> Names:
    """conv1_conv, conv2_block1_0_conv (shortcut), conv2_block1_1_bn, post_bn, predictions."""
    names_by_path = {}
    for p in paths:
        if p.row == "head":
            names_by_path[p.path] = {"bn": "post_bn", "dense": "predictions"}.get(p.kind, "")
        elif p.unit is None:
            names_by_path[p.path] = f"{p.row}_{p.kind}"
        else:
            block = f"conv{p.row_number}_block{p.unit}"
            names_by_path[p.path] = f"{block}_{role(p, 'preact')}_{p.kind}"
    return names_by_path


def role(p: LayerPath, first: str) -> str:
    """The part of a name after the block: "0" in the shortcut, `first` for a norm before all
    convolutions, else the number of the convolution."""
    if p.arm == "shortcut":
        return "0"
    if p.kind == "bn":
        return str(p.after or first)
    return str(p.number)


def dense(paths: Sequence[LayerPath]) -> Names:
    """conv2_block1_0_bn, conv2_block1_1_conv, pool2_conv, bn. The first dense block is conv2."""
    names_by_path = {}
    for p in paths:
        if p.row == "head":
            names_by_path[p.path] = {"bn": "bn", "dense": "predictions"}.get(p.kind, "")
        elif p.row.startswith("transition"):
            names_by_path[p.path] = f"pool{p.row_number + 1}_{p.kind}"
        elif p.unit is None:
            names_by_path[p.path] = f"{p.row}_{p.kind}"
        else:
            number = p.after if p.kind == "bn" else p.number
            names_by_path[p.path] = f"conv{p.row_number + 1}_block{p.unit}_{number}_{p.kind}"
    return names_by_path


def vgg(paths: Sequence[LayerPath]) -> Names:
    """block1_conv1, fc1, fc2, predictions. Keras has no VGG with batch norm."""
    if any(p.kind == "bn" for p in paths):
        raise UserError("Keras has no VGG with batch norm: use the scheme torchvision or timm")
    heads = [p for p in paths if p.kind == "dense"]
    last = heads[-1].path if heads else ""
    return {
        p.path: "predictions"
        if p.path == last
        else f"fc{p.number}"
        if p.row == "head"
        else f"block{p.row_number}_conv{p.number}"
        for p in paths
    }


def rename(name: str) -> str:
    """DenseNet's published files have `conv1/conv` and `conv1/bn` for the first layers."""
    return re.sub(r"^conv1/(conv|bn)/", r"conv1_\1/", name)


SCHEME = Scheme("keras", "keras.applications", names, rename=rename)
