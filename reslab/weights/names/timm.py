"""timm's names (read in timm 1.0.31, `models/{resnet,resnetv2,vgg,densenet}.py`).

Its ResNets, ResNeXts and DenseNets are called as torchvision's are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reslab.weights.layer_paths import Place, family
from reslab.weights.names import torchvision
from reslab.weights.schemes import AsConv, Names


def names(places: Sequence[Place]) -> Names:
    kind = family(places)
    if kind == "preact":
        return preact(places)
    if kind == "sequential":
        return {**torchvision.features(places), **vgg_head(places)}
    return torchvision.names(places)


def preact(places: Sequence[Place]) -> Names:
    """stem.conv, stages.0.blocks.0.norm1, head.fc: norms are numbered from the one before conv1."""
    deep = sum(p.row == "conv1" and p.kind == "conv" for p in places) > 1
    found: dict[str, str] = {}
    for p in places:
        if p.kind not in ("conv", "bn", "dense"):
            continue
        word = {"conv": "conv", "bn": "norm"}.get(p.kind, "")
        if p.row == "head":
            found[p.path] = AsConv("head.fc") if p.kind == "dense" else "norm"
        elif p.row == "conv1":
            found[p.path] = f"stem.{word}{p.number if deep else ''}"
        elif p.unit is not None:
            block = f"stages.{p.row_number - 2}.blocks.{p.unit - 1}"
            if p.arm == "shortcut":
                found[p.path] = f"{block}.downsample.{word}"
            else:
                number = p.after + 1 if p.kind == "bn" else p.number
                found[p.path] = f"{block}.{word}{number}"
    return found


def vgg_head(places: Sequence[Place]) -> Names:
    """pre_logits.fc1 and fc2 are convolutions; head.fc is none."""
    dense = [p for p in places if p.row == "head" and p.kind == "dense"]
    hidden = {p.path: AsConv(f"pre_logits.fc{p.number}") for p in dense[:-1]}
    return {**hidden, **{p.path: "head.fc" for p in dense[-1:]}}


SCHEME = replace(torchvision.SCHEME, name="timm", library="timm", names=names)
