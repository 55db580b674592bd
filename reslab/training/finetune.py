"""Fine-tuning: pretrained weights, the head first, and lower learning rates towards the input."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.core.paths import regular
from reslab.data import Normalization
from reslab.data.dataset import CLASSIFICATION
from reslab.evaluation import unseen
from reslab.models import saved, stacked
from reslab.models.build import variables
from reslab.models.optimizers import Multipliers
from reslab.runs.lineage import Lineage
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import Conv, Network, walk
from reslab.spec.serialize import decode_network
from reslab.training.batchnorm import all_norms
from reslab.weights import match, shards, transfer, whole
from reslab.weights.schemes import classifier_path


@dataclass(frozen=True)
class Start:
    """Opened weights to start from.

    Attributes:
        source_name: The weights as the user named them.
        network: The network to build for them.
        from_run: Whether a run wrote them; its classes have the names that its data gave them.
        mean: Mean of the images that the weights were trained on, RGB in 0..255, float32 (1, 1, c)
            or (h, w, c); None if it is not known. `std` likewise.
        lineage: The training images of the run that wrote them; None if no run wrote them.
        task: The task that the head was trained for.
        options: The options `scheme_given`, `strict` and `ema` where they are not the defaults.
    """

    source_name: str
    source: transfer.Source
    network: Network
    scheme: str
    sha256: str
    from_run: bool = False
    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    lineage: Lineage | None = None
    task: str = CLASSIFICATION
    options: Mapping[str, bool] = field(default_factory=dict)

    @property
    def info(self) -> dict[str, Any]:
        """What run.json says about them."""
        names = {"source": self.source_name, "scheme": self.scheme, "sha256": self.sha256}
        trained = self.source.network or self.network
        classes = list(self.source.classes or ())
        return {**names, "network": trained.name, "classes": classes, **self.options}

    def normalization(self, shape: tuple[int, int, int]) -> Normalization | None:
        """The normalisation that the weights were trained with; None if it is not known."""
        if self.mean is None or self.std is None or self.mean.shape[-1] != shape[-1]:
            return None
        mean, std = self.mean, self.std
        if mean.shape[:2] not in ((1, 1), shape[:2]):  # per pixel, for another image size
            std = np.sqrt((std**2 + mean**2).mean((0, 1), keepdims=True) - mean.mean((0, 1)) ** 2)
            mean = mean.mean((0, 1), keepdims=True)
        return Normalization(mean, std)

    def fill(
        self, model: keras.Model, net: Network, classes: Sequence[str], task: str = CLASSIFICATION
    ) -> list[str]:
        """Assign the weights to the model's variables; return notes on what was not assigned.

        The head keeps its new weights if the file has another number of classes, if a run wrote it
        for other classes, or if it was trained for another task. Raises UserError if the file does
        not fit.
        """
        notes: list[str] = []
        head = f"{classifier_path(walk(net))}/"
        by_name = variables(model)
        new_head = {
            n: keras.ops.convert_to_numpy(v) for n, v in by_name.items() if n.startswith(head)
        }
        transfer.assign_weights(model, transfer.about(model, net), self.source, notes.append)
        pretrained_classes = self.source.classes or ()
        same_number = len(pretrained_classes) == len(classes)
        other_classes = self.from_run and same_number and pretrained_classes != tuple(classes)
        if other_classes or self.task != task:
            for name, array in new_head.items():
                by_name[name].assign(array)
            what = "other classes" if self.task == task else f"another task, {self.task}"
            notes.append(f"{self.source_name} has {what}: the head ({head[:-1]}) is initialised")
        if self.source.preprocessing and self.source.preprocessing.order == "bgr":
            _convert_to_rgb(by_name, net)
        return notes


def _convert_to_rgb(by_name: dict[str, Any], net: Network) -> None:
    """Reverse the input channels of the first convolution, from BGR to RGB."""
    for layer in walk(net):
        if "" in layer.inputs:
            if not isinstance(layer.part, Conv):
                raise UserError(
                    f"{layer.path} takes BGR images, and only a convolution can be converted to RGB"
                )
            kernel = by_name[f"{layer.path}/kernel"]
            kernel.assign(np.flip(keras.ops.convert_to_numpy(kernel), 2).copy())


def start(
    weights: str | Path,
    net: Network,
    scheme: str = "auto",
    ema: bool = True,
    strict: bool = True,
) -> Start:
    """Open weights: a file, another run's folder or model, or a published name.

    If the weights are of a library's variant of the network (keras.applications has the stride in
    the first 1x1), the result's `network` is that variant. Raises UserError if there are no such
    weights, or they are of another network.
    """
    from_run, task = False, CLASSIFICATION
    mean = std = classes = None
    path = Path(weights)
    if path.is_dir() and not shards.in_folder(path):
        path = Run.open(path).trained_model()
    given = transfer.open_source(path if path.exists() else weights, net.name, scheme, ema, strict)
    contents, preprocessing = given.contents, given.preprocessing
    name = str(weights)
    if (found := given.repository) is not None:
        from_run, task, classes, name = True, found.task, found.classes, found.pinned
        mean, std = found.mean, found.std
    elif (card := _card(contents.path)) is not None:
        from_run, classes, task = True, tuple(card["classes"]), card.get("task", task)
        given = replace(given, network=decode_network(card["network"]), classes=classes)
        mean, std = whole.normalization(contents.path)
    elif preprocessing is not None:
        rgb = slice(None, None, -1 if preprocessing.order == "bgr" else 1)
        values = preprocessing.mean, preprocessing.std
        mean, std = (np.array(x, "float32")[None, None, rgb] for x in values)
    net = transfer.library_variant(given, net)
    options = {"strict": strict, "ema": ema}
    options = {name: False for name, value in options.items() if not value}
    options |= {} if scheme == "auto" else {"scheme_given": True}
    scheme = given.scheme
    if scheme == "auto":
        scheme = match.best(walk(net), contents, net.name).scheme.name
    digest = _digest(contents.parts or (contents.path,))
    lineage = unseen.lineage_of_weights(weights)
    if from_run and lineage is None:  # a model file that left its run
        lineage = Lineage(np.zeros(0, np.uint64), unknown=(name,))
    return Start(name, given, net, scheme, digest, from_run, mean, std, lineage, task, options)


def _digest(paths: Sequence[Path]) -> str:
    """The SHA-256 of a file, or of the files of sharded weights one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with regular(path).open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _card(path: Path) -> dict[str, Any] | None:
    """The card of a model that a run wrote; None for other files."""
    try:
        return saved.read_card(path)
    except UserError:
        return None


# Frozen layers and learning-rate multipliers ------------------------------------------------------


def multipliers(
    recipe: Recipe, net: Network, model: keras.Model, total_steps: int
) -> Multipliers | None:
    """The recipe's learning-rate multiplier of each trainable variable; None if all are 1.

    Auxiliary heads are treated like the head.
    """
    if not recipe.head_first and recipe.row_decay == 1:
        return None
    row_of = {layer.path: layer.row for layer in walk(net, aux=True)}
    by_row = row_multipliers(net, recipe.row_decay)
    head = classifier_path(walk(net))
    layer_of = {id(v): layer.name for layer in model.layers for v in layer.variables}
    for holder in stacked.holders(model):  # all units of a stack are in one row
        layer_of |= {id(v): holder.stack.leaves[leaf][1] for v, leaf, _ in holder.wholes}
    paths = [layer_of[id(v)] for v in model.trainable_variables]
    frozen_first = [path != head and row_of[path] in by_row for path in paths]
    return Multipliers(
        tuple(by_row.get(row_of[path], 1.0) for path in paths),
        tuple(frozen_first),
        round(recipe.head_first * total_steps),
    )


def row_multipliers(net: Network, decay: float) -> dict[str, float]:
    """By row of the table, for rows with weights: 1 for the last row, `decay` per row before it."""
    rows = list(dict.fromkeys(layer.row for layer in walk(net) if layer.weights))
    return {row: decay ** (len(rows) - 1 - i) for i, row in enumerate(rows)}


def frozen_notes(recipe: Recipe, net: Network, model: keras.Model, total_steps: int) -> list[str]:
    """Notes on frozen layers, the step at which they unfreeze, and learning-rate multipliers."""
    notes = []
    trainable = f"{_size(model.trainable_variables):,}"
    frozen_norms = [norm for norm in all_norms(model) if not norm.layer.trainable]
    if frozen_norms:
        frozen = [v for n in frozen_norms for v in (n.variables["gamma"], n.variables["beta"])]
        notes.append(
            f"batch norm is frozen: {sum(norm.times for norm in frozen_norms)} layers keep their "
            f"running mean and variance and their {_size(frozen):,} scales and shifts; {trainable} "
            "other parameters are trained"
        )
    rates = multipliers(recipe, net, model, total_steps)
    if rates is None:
        return notes
    if rates.start:
        both = zip(model.trainable_variables, rates.late, strict=True)
        head = _size([v for v, late in both if not late])
        notes.append(
            f"steps 1 to {rates.start} of {total_steps} train only the head, {head:,} of "
            f"{trainable} parameters; all other layers are frozen until then"
            + ("" if frozen_norms else ", except batch norm's running mean and variance")
        )
    if recipe.row_decay < 1:
        by_row = row_multipliers(net, recipe.row_decay)
        rows = ", ".join(f"{row} x{factor:.3g}" for row, factor in by_row.items())
        notes.append(f"learning-rate multipliers, lower towards the input: {rows}")
    return notes


def _size(variables: Sequence[Any]) -> int:
    return sum(int(np.prod(v.shape)) for v in variables if v is not None)
