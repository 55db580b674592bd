"""The names of timm (1.0.31, `models/{resnet,resnetv2,vgg,densenet}.py`).

ResNets, ResNeXts and DenseNets have the same names as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reslab.weights.layer_paths import LayerPath, family
from reslab.weights.names import torchvision
from reslab.weights.schemes import AsConv, Names


def names(paths: Sequence[LayerPath]) -> Names:
    kind = family(paths)
    if kind == "preact":
        return preact(paths)
    if kind == "sequential":
        return {**torchvision.features(paths), **vgg_head(paths)}
    return torchvision.names(paths)


def preact(paths: Sequence[LayerPath]) -> Names:
    """stem.conv, stages.0.blocks.0.norm1, head.fc. The norm before conv1 is norm1."""
    deep_stem = sum(p.row == "conv1" and p.kind == "conv" for p in paths) > 1
    names_by_path: dict[str, str] = {}
    for p in paths:
        if p.kind not in ("conv", "bn", "dense"):
            continue
        kind = {"conv": "conv", "bn": "norm"}.get(p.kind, "")
        if p.row == "head":
            names_by_path[p.path] = AsConv("head.fc") if p.kind == "dense" else "norm"
        elif p.row == "conv1":
            names_by_path[p.path] = f"stem.{kind}{p.number if deep_stem else ''}"
        elif p.unit is not None:
            block = f"stages.{p.row_number - 2}.blocks.{p.unit - 1}"
            if p.arm == "shortcut":
                names_by_path[p.path] = f"{block}.downsample.{kind}"
            else:
                number = p.after + 1 if p.kind == "bn" else p.number
                names_by_path[p.path] = f"{block}.{kind}{number}"
    return names_by_path


def vgg_head(paths: Sequence[LayerPath]) -> Names:
    """pre_logits.fc1, pre_logits.fc2 (both convolutions in timm), head.fc (a dense layer)."""
    dense = [p for p in paths if p.row == "head" and p.kind == "dense"]
    hidden = {p.path: AsConv(f"pre_logits.fc{p.number}") for p in dense[:-1]}
    return {**hidden, **{p.path: "head.fc" for p in dense[-1:]}}


SCHEME = replace(torchvision.SCHEME, name="timm", library="timm", names=names)
