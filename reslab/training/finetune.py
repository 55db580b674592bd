"""Fine-tuning: weights from elsewhere, the head first, smaller rates towards the input, and batch
norm held still or measured anew."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.data import Normalization
from reslab.models import saved, stacked
from reslab.models.build import variables
from reslab.models.optimizers import Shares
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import Conv, Network, walk
from reslab.spec.serialize import decode_network
from reslab.training.batchnorm import all_norms
from reslab.weights import match, transfer
from reslab.weights.schemes import classifier_path

RECIPE = "fine-tune"  # what a training from given weights follows where no other is named


@dataclass(frozen=True)
class Start:
    """Weights to start from, opened; `network` is the one to make, `said` how they were named.

    `mean` and `std` are float32 (1, 1, c) or (h, w, c), in RGB of 0..255; None where nothing is
    known. `own` says that a run of ours left them, whose classes are named as its data's were.
    """

    said: str
    source: transfer.Source
    network: Network
    scheme: str
    sha256: str
    own: bool = False
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    @property
    def info(self) -> dict[str, Any]:
        """What run.json says of them."""
        names = {"source": self.said, "scheme": self.scheme, "sha256": self.sha256}
        trained = self.source.network or self.network
        return {**names, "network": trained.name, "classes": list(self.source.classes or ())}

    def standard(self, shape: tuple[int, int, int]) -> Normalization | None:
        """As the weights were trained, for images of this shape; None where that is not known."""
        if self.mean is None or self.std is None or self.mean.shape[-1] != shape[-1]:
            return None
        mean, std = self.mean, self.std
        if mean.shape[:2] not in ((1, 1), shape[:2]):  # a mean of each pixel, of another size
            std = np.sqrt((std**2 + mean**2).mean((0, 1), keepdims=True) - mean.mean((0, 1)) ** 2)
            mean = mean.mean((0, 1), keepdims=True)
        return Normalization(mean, std)

    def fill(self, model: keras.Model, net: Network, classes: Sequence[str]) -> list[str]:
        """Assign the model's variables; what was left out, in words.

        The head is left as it is where the file has another number of classes, or a run of ours
        other ones. Raises UserError where the file does not fit.
        """
        words: list[str] = []
        head = f"{classifier_path(walk(net))}/"
        own = variables(model)
        fresh = {n: keras.ops.convert_to_numpy(v) for n, v in own.items() if n.startswith(head)}
        transfer.assign_weights(model, transfer.about(model, net), self.source, words.append)
        theirs = self.source.classes or ()
        if self.own and len(theirs) == len(classes) and theirs != tuple(classes):
            for name, array in fresh.items():
                own[name].assign(array)
            words.append(f"{self.said} has other classes: the head ({head[:-1]}) is left as it was")
        if self.source.preprocessing and self.source.preprocessing.order == "bgr":
            _take_rgb(own, net)
        return words


def _take_rgb(own: dict[str, Any], net: Network) -> None:
    """Turn the first convolution's input from BGR to RGB, which is what our images are."""
    for layer in walk(net):
        if "" in layer.inputs:
            if not isinstance(layer.part, Conv):
                raise UserError(f"{layer.path} takes BGR, and only a convolution can be turned")
            kernel = own[f"{layer.path}/kernel"]
            kernel.assign(np.flip(keras.ops.convert_to_numpy(kernel), 2).copy())


def start(weights: str | Path, net: Network) -> Start:
    """Weights from a file, another run's folder or model, or by a published name.

    Where a library has another variant of the network (keras.applications strides in the first
    1x1), that one is `network`. Raises UserError where there are none, or they are of another.
    """
    said, own = str(weights), False
    mean = std = classes = None
    path = Path(weights)
    if path.is_dir():
        path = Run.open(path).model_path
        if not path.exists():
            raise UserError(f"{weights} has no model yet: finish it with `reslab train --resume`")
    given = transfer.open_source(path if path.exists() else weights, net.name)
    contents, how = given.contents, given.preprocessing
    if (card := _card(contents.path)) is not None:
        own, classes = True, tuple(card["classes"])
        given = replace(given, network=decode_network(card["network"]), classes=classes)
        mean, std = _normalization(contents.path)
    elif how is not None:
        turn = -1 if how.order == "bgr" else 1
        mean, std = (np.array(x, "float32")[None, None, ::turn] for x in (how.mean, how.std))
    net = transfer.library_variant(given, net)
    scheme = given.scheme
    if scheme == "auto":
        scheme = match.best(walk(net), contents, net.name).scheme.name
    with contents.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Start(said, given, net, scheme, digest, own, mean, std)


def _card(path: Path) -> dict[str, Any] | None:
    """The card of a model that a run left; None for other files."""
    try:
        return saved.read_card(path)
    except UserError:
        return None


def _normalization(path: Path) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Mean and deviation of a whole model's first layer, as its description has them."""
    try:
        with zipfile.ZipFile(path) as file:
            layers = json.loads(file.read("config.json"))["config"]["layers"]
        known = next(x["config"] for x in layers if x["class_name"] == "Normalization")
        mean, variance = (np.array(known[k], "float32") for k in ("mean", "variance"))
    except (OSError, KeyError, ValueError, TypeError, StopIteration, zipfile.BadZipFile):
        return None, None
    shape = (1,) * (3 - mean.ndim) + mean.shape
    return mean.reshape(shape), np.sqrt(variance).reshape(shape)


# What moves, and how fast ------------------------------------------------------------------------


def shares(recipe: Recipe, net: Network, model: keras.Model, total: int) -> Shares | None:
    """The recipe's shares of the rate among the model's trainable variables; None where all are
    alike. Auxiliary heads go with the head."""
    if not recipe.head_first and recipe.row_decay == 1:
        return None
    row_of = {layer.path: layer.row for layer in walk(net, aux=True)}
    factors = row_factors(net, recipe.row_decay)
    head = classifier_path(walk(net))
    layer_of = {id(v): layer.name for layer in model.layers for v in layer.variables}
    for held in stacked.holders(model):  # all units of a stack are of one row
        layer_of |= {id(v): held.stack.leaves[leaf][1] for v, leaf, _ in held.wholes}
    paths = [layer_of[id(v)] for v in model.trainable_variables]
    late = [path != head and row_of[path] in factors for path in paths]
    return Shares(
        tuple(factors.get(row_of[path], 1.0) for path in paths),
        tuple(late),
        round(recipe.head_first * total),
    )


def row_factors(net: Network, decay: float) -> dict[str, float]:
    """By row of the table, those with weights: the last moves at the full rate."""
    rows = list(dict.fromkeys(layer.row for layer in walk(net) if layer.weights))
    return {row: decay ** (len(rows) - 1 - i) for i, row in enumerate(rows)}


def what_moves(recipe: Recipe, net: Network, model: keras.Model, total: int) -> list[str]:
    """In words: what stands still, and for how long; nothing where all move alike."""
    words = []
    count = f"{_sum(model.trainable_variables):,}"
    held = [norm for norm in all_norms(model) if not norm.layer.trainable]
    if held:
        still = [v for norm in held for v in (norm.own["gamma"], norm.own["beta"])]
        words.append(
            f"batch norm is frozen: {sum(norm.times for norm in held)} layers keep their running "
            f"statistics and their {_sum(still):,} scales and shifts; {count} other parameters "
            "are trained"
        )
    shared = shares(recipe, net, model, total)
    if shared is None:
        return words
    if shared.start:
        both = zip(model.trainable_variables, shared.late, strict=True)
        first = _sum([v for v, late in both if not late])
        words.append(
            f"steps 1 to {shared.start} of {total} train the head alone ({first:,} of {count} "
            "parameters); the rest is frozen until then"
            + ("" if held else ", but for batch norm's running statistics")
        )
    if recipe.row_decay < 1:
        rows = [f"{r} x{f:.3g}" for r, f in row_factors(net, recipe.row_decay).items()]
        words.append(f"rates fall towards the input: {', '.join(rows)}")
    return words


def _sum(many: Sequence[Any]) -> int:
    return sum(int(np.prod(v.shape)) for v in many if v is not None)


# Batch norm's statistics -------------------------------------------------------------------------
