"""torchvision's names (read in torchvision 0.28.0, `models/*.py`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from reslab.core.errors import UserError
from reslab.weights.layer_paths import Place, family
from reslab.weights.schemes import Names, Scheme


def names(places: Sequence[Place]) -> Names:
    kinds = {
        "residual": residual,
        "dense": dense,
        "inception": inception,
        "sequential": lambda p: {**features(p), **classifier(p)},
    }
    kind = family(places)
    if kind not in kinds:
        raise UserError("torchvision has no pre-activated nets: use the scheme timm or keras_hub")
    return kinds[kind](places)


def residual(places: Sequence[Place]) -> Names:
    """conv1, bn1, layer1.0.conv1, layer1.0.downsample.0, fc. The rows conv2_x are layer1.

    timm's additions: a stem of three convolutions is `conv1.0` to `conv1.6`; a mean before the
    shortcut's projection takes the index 0; squeeze and excitation is `se.fc1`, `se.fc2`.
    """
    deep = sum(p.row == "conv1" and p.kind == "conv" for p in places)
    pooled = any(p.arm == "shortcut" and p.kind == "avgpool" for p in places)
    found = {}
    for p in places:
        if p.row == "head":
            name = {"dense": "fc"}.get(p.kind)
        elif p.row == "conv1":
            name = _stem(p, deep)
        elif p.unit is None or p.kind not in ("conv", "bn"):
            name = None
        elif p.inner:
            name = f"{_unit(p)}.se.fc{p.number}"
        elif p.arm == "shortcut":
            name = f"{_unit(p)}.downsample.{(p.kind == 'bn') + pooled}"
        else:
            name = f"{_unit(p)}.{p.kind}{p.number}"
        if name:
            found[p.path] = name
    return found


def _stem(p: Place, deep: int) -> str | None:
    if p.kind not in ("conv", "bn"):
        return None
    if deep == 1:
        return f"{p.kind}1"
    if p.kind == "bn" and p.number == deep:
        return "bn1"
    return f"conv1.{3 * (p.number - 1) + (p.kind == 'bn')}"  # conv, bn, relu, three times


def _unit(p: Place) -> str:
    assert p.unit is not None
    return f"layer{p.row_number - 1}.{p.unit - 1}"


def dense(places: Sequence[Place]) -> Names:
    """features.conv0, features.denseblock1.denselayer1.norm1, features.transition1.conv."""
    words = {"conv": "conv", "bn": "norm"}
    found = {}
    for p in places:
        if p.row == "head":
            name = {"bn": "features.norm5", "dense": "classifier"}.get(p.kind)
        elif p.kind not in words:
            name = None
        elif p.row == "conv1":
            name = f"features.{words[p.kind]}0"
        elif p.row.startswith("transition"):
            name = f"features.{p.row}.{words[p.kind]}"
        else:
            block = f"features.denseblock{p.row_number}.denselayer{p.unit}"
            name = f"{block}.{words[p.kind]}{p.number}"
        if name:
            found[p.path] = name
    return found


def inception(places: Sequence[Place]) -> Names:
    """conv1.conv, conv1.bn, inception3a.branch2.0.conv: a branch of one step has no index."""
    steps = Counter((p.row, p.arm) for p in places if p.kind in ("conv", "maxpool") and p.branch)
    seen: Counter[tuple[str, str]] = Counter()
    stem, found = 0, {}
    for p in places:
        if p.row == "head":
            if p.kind == "dense":
                found[p.path] = "fc"
        elif p.branch:
            here = p.row, p.arm
            seen[here] += p.kind in ("conv", "maxpool")
            index = f".{seen[here] - 1}" if steps[here] > 1 else ""
            if p.kind in ("conv", "bn"):
                row = p.row.replace("_", "")
                found[p.path] = f"{row}.{p.arm}{index}.{p.kind}"
        elif p.kind in ("conv", "bn"):
            stem += p.kind == "conv"
            found[p.path] = f"conv{stem}.{p.kind}"
    return found


def features(places: Sequence[Place]) -> Names:
    """features.0, features.3: each layer before the head has an index, pools and ReLUs too."""
    body = [p for p in places if p.row != "head"]
    return {p.path: f"features.{i}" for i, p in enumerate(body)}


def classifier(places: Sequence[Place]) -> Names:
    """classifier.0, classifier.3: likewise from the flattened maps on."""
    head = [p for p in places if p.row == "head"]
    flat = [i for i, p in enumerate(head) if p.kind == "flatten"]
    if not flat:
        raise UserError("torchvision has no net like this: a chain that ends in no flattened maps")
    return {p.path: f"classifier.{i}" for i, p in enumerate(head[flat[-1] + 1 :])}


def rename(name: str) -> str:
    """DenseNet's files were written when layers were called `norm.1`; GoogLeNet's have more."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])", r"\1\2", name)


SCHEME = Scheme(
    "torchvision",
    "torchvision",
    names,
    torch=True,
    ignored=("aux", "num_batches_tracked"),  # GoogLeNet's auxiliary heads; torch's own counters
    rename=rename,
)
