"""The names of KerasHub (0.32.0, `models/{resnet,densenet,vgg}/*_backbone.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from reslab.core.errors import UserError
from reslab.weights.layer_paths import LayerPath, family
from reslab.weights.names import keras_applications
from reslab.weights.schemes import Names, Scheme


def names(paths: Sequence[LayerPath]) -> Names:
    kinds = {
        "residual": residual,
        "preact": residual,
        "dense": dense,
        "sequential": keras_applications.vgg,
    }
    kind = family(paths)
    if kind not in kinds:
        raise UserError("KerasHub has no such network: use the scheme torchvision")
    weighted = [p for p in paths if p.kind in keras_applications.WEIGHTED]
    return kinds[kind](weighted)


def residual(paths: Sequence[LayerPath]) -> Names:
    """conv1_conv, stack0_block0_0_conv (shortcut), stack0_block0_1_bn, post_bn.

    A stem of three convolutions is named conv1_conv to conv3_conv.
    """
    names_by_path = {}
    for p in paths:
        if p.row == "head":
            names_by_path[p.path] = {"bn": "post_bn", "dense": "predictions"}.get(p.kind, "")
        elif p.unit is None:
            names_by_path[p.path] = f"conv{p.number}_{p.kind}"
        else:
            role = keras_applications.role(p, "pre_activation")
            names_by_path[p.path] = f"stack{p.row_number - 2}_block{p.unit - 1}_{role}_{p.kind}"
    return names_by_path


def dense(paths: Sequence[LayerPath]) -> Names:
    """stack1_block1_1_bn, stack1_block1_1_conv, transition1_conv, bn."""
    names_by_path = {}
    for p in paths:
        if p.row == "head":
            names_by_path[p.path] = {"bn": "bn", "dense": "predictions"}.get(p.kind, "")
        elif p.unit is None:
            names_by_path[p.path] = f"{p.row}_{p.kind}"
        else:
            names_by_path[p.path] = f"stack{p.row_number}_block{p.unit}_{p.number}_{p.kind}"
    return names_by_path


def nest(paths: Sequence[LayerPath], layer: str) -> tuple[str, ...]:
    """The models that contain a layer, by their class names in Keras's files: the backbone or none.

    VGG's head is a model of its own.
    """
    kind = family(paths)
    head = layer == "predictions" or (kind == "sequential" and layer.startswith("fc"))
    if head:
        return ("sequential",) if kind == "sequential" else ()
    return ({"dense": "dense_net_backbone", "sequential": "vgg_backbone"}.get(kind, RESNET),)


RESNET = "res_net_backbone"
SCHEME = Scheme("keras_hub", "KerasHub", names, nest=nest)
