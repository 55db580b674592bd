"""The names of torchvision (0.28.0, `models/*.py`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from reslab.core.errors import UserError
from reslab.weights.layer_paths import LayerPath, family
from reslab.weights.schemes import Names, Scheme


def names(paths: Sequence[LayerPath]) -> Names:
    kinds = {
        "residual": residual,
        "dense": dense,
        "inception": inception,
        "sequential": lambda p: {**features(p), **classifier(p)},
    }
    kind = family(paths)
    if kind not in kinds:
        raise UserError(
            "torchvision has no pre-activation networks: use the scheme timm or keras_hub"
        )
    return kinds[kind](paths)


def residual(paths: Sequence[LayerPath]) -> Names:
    """conv1, bn1, layer1.0.conv1, layer1.0.downsample.0, fc. The row conv2_x is layer1.

    timm adds: a stem of three convolutions is `conv1.0` to `conv1.6`; an average pool before the
    projection in the shortcut has the index 0; squeeze and excitation is `se.fc1`, `se.fc2`.
    """
    stem_convs = sum(p.row == "conv1" and p.kind == "conv" for p in paths)
    pooled = any(p.arm == "shortcut" and p.kind == "avgpool" for p in paths)
    names_by_path = {}
    for p in paths:
        if p.row == "head":
            name = {"dense": "fc"}.get(p.kind)
        elif p.row == "conv1":
            name = _stem(p, stem_convs)
        elif p.unit is None or p.kind not in ("conv", "bn"):
            name = None
        elif p.inner:
            name = f"{_unit(p)}.se.fc{p.number}"
        elif p.arm == "shortcut":
            name = f"{_unit(p)}.downsample.{(p.kind == 'bn') + pooled}"
        else:
            name = f"{_unit(p)}.{p.kind}{p.number}"
        if name:
            names_by_path[p.path] = name
    return names_by_path


def _stem(p: LayerPath, stem_convs: int) -> str | None:
    if p.kind not in ("conv", "bn"):
        return None
    if stem_convs == 1:
        return f"{p.kind}1"
    if p.kind == "bn" and p.number == stem_convs:
        return "bn1"
    return f"conv1.{3 * (p.number - 1) + (p.kind == 'bn')}"  # (conv, bn, relu) three times


def _unit(p: LayerPath) -> str:
    assert p.unit is not None
    return f"layer{p.row_number - 1}.{p.unit - 1}"


def dense(paths: Sequence[LayerPath]) -> Names:
    """features.conv0, features.denseblock1.denselayer1.norm1, features.transition1.conv."""
    kinds = {"conv": "conv", "bn": "norm"}
    names_by_path = {}
    for p in paths:
        if p.row == "head":
            name = {"bn": "features.norm5", "dense": "classifier"}.get(p.kind)
        elif p.kind not in kinds:
            name = None
        elif p.row == "conv1":
            name = f"features.{kinds[p.kind]}0"
        elif p.row.startswith("transition"):
            name = f"features.{p.row}.{kinds[p.kind]}"
        else:
            block = f"features.denseblock{p.row_number}.denselayer{p.unit}"
            name = f"{block}.{kinds[p.kind]}{p.number}"
        if name:
            names_by_path[p.path] = name
    return names_by_path


def inception(paths: Sequence[LayerPath]) -> Names:
    """conv1.conv, conv1.bn, inception3a.branch2.0.conv. A branch of one step has no index."""
    steps = Counter((p.row, p.arm) for p in paths if p.kind in ("conv", "maxpool") and p.branch)
    steps_so_far: Counter[tuple[str, str]] = Counter()
    stem, names_by_path = 0, {}
    for p in paths:
        if p.row == "head":
            if p.kind == "dense":
                names_by_path[p.path] = "fc"
        elif p.branch:
            branch = p.row, p.arm
            steps_so_far[branch] += p.kind in ("conv", "maxpool")
            index = f".{steps_so_far[branch] - 1}" if steps[branch] > 1 else ""
            if p.kind in ("conv", "bn"):
                row = p.row.replace("_", "")
                names_by_path[p.path] = f"{row}.{p.arm}{index}.{p.kind}"
        elif p.kind in ("conv", "bn"):
            stem += p.kind == "conv"
            names_by_path[p.path] = f"conv{stem}.{p.kind}"
    return names_by_path


def features(paths: Sequence[LayerPath]) -> Names:
    """features.0, features.3. Every layer before the head counts, pools and ReLUs too."""
    body = [p for p in paths if p.row != "head"]
    return {p.path: f"features.{i}" for i, p in enumerate(body)}


def classifier(paths: Sequence[LayerPath]) -> Names:
    """classifier.0, classifier.3. Every layer after the flattened maps counts."""
    head = [p for p in paths if p.row == "head"]
    flat = [i for i, p in enumerate(head) if p.kind == "flatten"]
    if not flat:
        raise UserError(
            "torchvision has no such network: a sequential network without flattened maps"
        )
    return {p.path: f"classifier.{i}" for i, p in enumerate(head[flat[-1] + 1 :])}


def rename(name: str) -> str:
    """DenseNet's published files have `norm.1` for today's `norm1`."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])", r"\1\2", name)


SCHEME = Scheme(
    "torchvision",
    "torchvision",
    names,
    torch=True,
    ignored=("aux", "num_batches_tracked"),  # GoogLeNet's auxiliary classifiers; counters
    rename=rename,
)
