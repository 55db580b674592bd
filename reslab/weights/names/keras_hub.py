"""KerasHub's names (read in KerasHub 0.32.0, `models/{resnet,densenet,vgg}/*_backbone.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from reslab.core.errors import UserError
from reslab.weights.layer_paths import Place, family
from reslab.weights.names import keras_applications
from reslab.weights.schemes import Names, Scheme


def names(places: Sequence[Place]) -> Names:
    kinds = {
        "residual": residual,
        "preact": residual,
        "dense": dense,
        "sequential": keras_applications.vgg,
    }
    kind = family(places)
    if kind not in kinds:
        raise UserError("KerasHub has no net like this: use the scheme torchvision")
    weighted = [p for p in places if p.kind in keras_applications.WEIGHTED]
    return kinds[kind](weighted)


def residual(places: Sequence[Place]) -> Names:
    """conv1_conv, stack0_block0_0_conv (the shortcut's), stack0_block0_1_bn, post_bn.

    A stem of three convolutions is conv1_conv to conv3_conv.
    """
    found = {}
    for p in places:
        if p.row == "head":
            found[p.path] = {"bn": "post_bn", "dense": "predictions"}.get(p.kind, "")
        elif p.unit is None:
            found[p.path] = f"conv{p.number}_{p.kind}"
        else:
            role = keras_applications.role(p, "pre_activation")
            found[p.path] = f"stack{p.row_number - 2}_block{p.unit - 1}_{role}_{p.kind}"
    return found


def dense(places: Sequence[Place]) -> Names:
    """stack1_block1_1_bn, stack1_block1_1_conv, transition1_conv, bn."""
    found = {}
    for p in places:
        if p.row == "head":
            found[p.path] = {"bn": "bn", "dense": "predictions"}.get(p.kind, "")
        elif p.unit is None:
            found[p.path] = f"{p.row}_{p.kind}"
        else:
            found[p.path] = f"stack{p.row_number}_block{p.unit}_{p.number}_{p.kind}"
    return found


def nest(places: Sequence[Place], layer: str) -> tuple[str, ...]:
    """In which model a layer lies, as Keras's files write its class: the backbone or the head."""
    kind = family(places)
    head = layer == "predictions" or (kind == "sequential" and layer.startswith("fc"))
    if head:
        return ("sequential",) if kind == "sequential" else ()
    return ({"dense": "dense_net_backbone", "sequential": "vgg_backbone"}.get(kind, RESNET),)


RESNET = "res_net_backbone"
SCHEME = Scheme("keras_hub", "KerasHub", names, nest=nest)
