"""Everything about a training that can be decided, or refused, before it has a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reslab import data as datasets
from reslab import zoo
from reslab.core.errors import UserError
from reslab.data import Data, augment
from reslab.data.dataset import MULTILABEL
from reslab.data.loading import TEST
from reslab.data.notes import notes as data_notes
from reslab.evaluation import unseen
from reslab.evaluation.tasks.base import Task
from reslab.evaluation.tasks.registry import task
from reslab.runs.lineage import Lineage
from reslab.runs.options import TrainingOptions
from reslab.runs.recipe import Recipe
from reslab.spec import Network, summary
from reslab.trackers.base import require
from reslab.training import finetune, memory

TOLD = {  # facts about the data that a person should know before the training
    "labels": "labels",
    "python": "data in Python",
    "images_from": "images are taken from",
    "unlabelled_rows": "rows without a label, left out",
    "unused_column": "unused column",
}
BYTES = {"float32": 4, "mixed": 2}  # of an activation


@dataclass(frozen=True, eq=False)
class Preparation:
    """What is trained: the network and the recipe fit the data; `notes` say what was adapted.

    `loaded` are the data before a sample was drawn, for other trainings on the same data.
    """

    network: Network
    data: Data
    recipe: Recipe
    task: Task
    start: finetune.Start | None
    building: memory.Building
    lineage: Lineage
    notes: list[str]
    loaded: Data


def prepare(network: str | Network, data: Any, options: TrainingOptions) -> Preparation:
    """Load the data, and fit network and recipe to them; raises UserError for all that is wrong."""
    net, recipe = zoo.network(network), options.resolve_recipe()
    require(options.track)
    augment.by_stage(recipe.augment)  # before the data are loaded, which may take long
    start = (
        None
        if options.weights is None
        else finetune.start(options.weights, net, options.scheme, options.ema, options.strict)
    )
    net = net if start is None else start.network
    if not isinstance(data, Data):
        data = load_data(data, net, recipe, options)
    loaded = data
    if options.images is not None:
        data = datasets.sample(data, options.images)
    net = fit_network(net, data)
    summary.counts(net)  # raises if the images are too small for the network
    recipe, notes = fit_recipe(options.resolve_recipe(len(data.train)), data)
    if data.validation is None and (recipe.schedule == "plateau" or recipe.stop_after):
        raise UserError(
            f"recipe {recipe.name} watches the validation error: set validation above 0"
        )
    recipe.total_steps(len(data.train) // recipe.batch)  # raises if there are too many steps
    task(data.task).targets(data, options.balance, options.class_weights)  # raises for odd weights
    width = BYTES[options.precision]
    building = memory.choose(net, recipe.batch, width, options.stacked, options.remat)
    if building.note:
        notes.append(building.note)
    if options.jit_compile:
        notes.append("the first step compiles the network, which takes a while")
    lineage = Lineage(data.train.digests)
    if start is not None and start.lineage is not None:
        lineage = start.lineage.child(lineage.trained)
    notes += check_seen(data, lineage, options)
    return Preparation(net, data, recipe, task(data.task), start, building, lineage, notes, loaded)


def load_data(
    source: Any, net: Network, recipe: Recipe, options: TrainingOptions | None = None
) -> Data:
    """Load the data for a network; folders of images get the network's own size by default."""
    options = options or TrainingOptions()
    return datasets.load(
        source,
        size=options.size,
        channels=options.channels,
        test=TEST if options.test is None else options.test,
        validation=recipe.validation,
        skip_bad=options.skip_bad,
        group=options.group,
        folder_size=net.input_shape[0] or datasets.FOLDER_SIZE,
        columns=options.columns,
    )


def check_seen(data: Data, lineage: Lineage, options: TrainingOptions) -> list[str]:
    """Notes on validation and test images that an ancestor of the weights was trained on.

    Raises UserError if there is no other test image.
    """
    notes = []
    digests = np.setdiff1d(lineage.ancestors, lineage.trained)
    parts = {"test": data.test, "validation": data.validation}
    counts = {
        part: int(unseen.is_seen(split, digests).sum())
        for part, split in parts.items()
        if split is not None
    }
    for part, count in counts.items():
        split = parts[part]
        if not count or split is None:
            continue
        note = f"{count:,} of {len(split):,} {part} images were training images of "
        note += f"{options.weights} or of its ancestors: "
        if part == "validation":
            notes.append(f"{note}the errors that choose the epoch may be too low")
        elif options.keep_seen:
            notes.append(f"{note}they are kept, as --keep-seen asks")
        elif count == len(split):
            raise UserError(f"{note}give other images, or test on them with --keep-seen")
        else:
            notes.append(f"{note}they are left out of the test")
    if lineage.unknown:
        names = ", ".join(lineage.unknown)
        notes.append(f"the training images of {names} are not known: test images may be among them")
    return notes


def fit_network(network: Network, data: Data) -> Network:
    """The network for the images and the classes of these data."""
    return task(data.task).network_for(network, data)


def fit_recipe(recipe: Recipe, data: Data) -> tuple[Recipe, list[str]]:
    """The recipe as these data allow it, and notes about what is different.

    No mirror images for data that must not be mirrored; no batch larger than the training set.
    """
    notes = data_notes(data.facts)
    notes += [f"{name}: {data.facts[key]}" for key, name in TOLD.items() if data.facts.get(key)]
    if data.task == MULTILABEL and (absent := _absent(data)):
        notes.append(f"no training image has these labels, which cannot be learned: {absent}")
    if "flip" in recipe.augment and not data.facts.get("mirrors", True):
        kept = tuple(step for step in recipe.augment if step != "flip")
        recipe = replace(recipe, augment=kept)
        notes.append(f"no mirror images: {data.name} has images that must not be mirrored")
    if recipe.batch > (n := len(data.train)):
        notes.append(f"the batch is all {n:,} training images: there are no {recipe.batch:,}")
        recipe = replace(recipe, batch=n)
    return recipe, notes


def _absent(data: Data) -> str:
    """The names of the labels that no training image has."""
    return ", ".join(
        name for name, n in zip(data.classes, data.train.labels.sum(0), strict=True) if n == 0
    )
