"""What a training will do: its steps and learning rates, and cautions where it cannot go well."""

from __future__ import annotations

import math

from reslab.core.errors import UserError
from reslab.data import Data
from reslab.evaluation.cautions import FEWEST_STEPS, FEWEST_STEPS_WITH_WEIGHTS
from reslab.runs.options import TrainingOptions
from reslab.runs.recipe import Recipe
from reslab.spec import summary
from reslab.training.prepare import Preparation
from reslab.training.setup import Training

SHORTEST = 3  # steps of a rise or a warm-up: a shorter one has no effect


def refuse_without_effect(prepared: Preparation, data: object, options: TrainingOptions) -> None:
    """Raise UserError for a field that is set, and that this network or these data do not read."""
    changes, recipe, start = dict(options.changes or {}), prepared.recipe, prepared.start
    changes |= {} if options.validation is None else {"validation": options.validation}
    useless = {}
    if start and start.normalization(prepared.data.image_shape):
        useless["standardise"] = (
            f"images are normalised with the mean and std of {start.source_name}; leave it out"
        )
    if isinstance(data, Data):
        useless["validation"] = "the data are loaded already; give it to reslab.data.load"
    elif prepared.data.validation is not None and "validation" not in prepared.data.facts:
        useless["validation"] = "the data have a validation part; leave it out, or set it to 0"
    depth = summary.depth(prepared.network)
    if recipe.warmup > 0 and depth < recipe.warmup_layers:
        useless["warmup"] = useless["warmup_rate"] = (
            f"{prepared.network.name} has {depth} layers, and recipe {recipe.name} warms up from "
            f"{recipe.warmup_layers} layers on; set warmup_layers={depth} too, or leave it out"
        )
    for name in changes:
        if name in useless:
            raise UserError(f"{name} has no effect: {useless[name]}")


def notes(training: Training) -> list[str]:
    """One line about the steps and the learning rate, and a caution for each that is too short."""
    recipe, total, per_epoch = training.recipe, training.total_steps, training.steps_per_epoch
    depth = summary.depth(training.run.network)
    warmup = 0
    if recipe.schedule != "plateau" and depth >= recipe.warmup_layers:
        warmup = round(recipe.warmup * total)
    with_weights = training.options.weights is not None
    length = f"{total:,} {_plural(total, 'step')} = {_epochs(total, per_epoch)} x {per_epoch:,}"
    images = f"{_plural(per_epoch, 'step')} of {training.batch:,} images"
    return [
        f"{length} {images}; {_rates(recipe, total, warmup)}",
        *_cautions(recipe, total, per_epoch, training.batch, warmup, with_weights),
    ]


def _rates(recipe: Recipe, total: int, warmup: int) -> str:
    """How the learning rate changes, such as "learning rate 0.1, divided by ten at step 30"."""
    rate = f"learning rate {recipe.rate:.4g}"
    if recipe.schedule == "one-cycle":
        peak = f" at step {_peak(recipe, total):,}" if recipe.peak else ""
        text = f"{rate} at its highest{peak}, then down to zero"
    elif recipe.schedule == "cosine":
        text = f"{rate}, down to zero along a cosine"
    elif recipe.schedule == "plateau":
        text = f"{rate}, divided by ten after {recipe.patience} epochs without a lower error"
    elif recipe.schedule == "steps" and recipe.drops:
        drops = " and ".join(f"{round(drop * total):,}" for drop in recipe.drops)
        text = f"{rate}, divided by ten after step {drops}"
    else:
        text = rate
    if warmup:
        text += f"; {recipe.warmup_rate:.4g} in the first {warmup:,} {_plural(warmup, 'step')}"
    return text


def _cautions(
    recipe: Recipe, total: int, per_epoch: int, batch: int, warmup: int, with_weights: bool
) -> list[str]:
    fewest = FEWEST_STEPS_WITH_WEIGHTS if with_weights else FEWEST_STEPS
    if total < fewest:
        epochs = math.ceil(fewest / per_epoch)
        smaller = f" or a smaller batch (--batch {max(1, batch // 4)})" if batch > 16 else ""
        kind = "trained" if with_weights else "new"
        return [
            f"caution: {total} {_plural(total, 'step')} are too few to train {kind} weights, give "
            f"at least {fewest}: more epochs (--epochs {epochs}){smaller}"
        ]
    if recipe.schedule == "one-cycle" and 0 < recipe.peak * total < SHORTEST:
        return [
            f"caution: the rate reaches its peak of {recipe.rate:.4g} at step "
            f"{_peak(recipe, total)} of {total:,}: peak is a fraction of the training "
            "(--set peak=0.25), and rate is the highest rate"
        ]
    if 0 < warmup < SHORTEST:
        return [
            f"caution: the warm-up has {warmup} {_plural(warmup, 'step')} of {total:,}: warmup is "
            "a fraction of the training (--set warmup=0.05)"
        ]
    return []


def _peak(recipe: Recipe, total: int) -> int:
    """The number of the step with the highest rate of "one-cycle", from 1."""
    rates = recipe.rates(total)
    return rates.index(max(rates)) + 1


def _epochs(total: int, per_epoch: int) -> str:
    epochs = total / per_epoch
    return f"{epochs:.4g} {'epoch' if epochs == 1 else 'epochs'}"


def _plural(n: int, noun: str) -> str:
    return noun if n == 1 else f"{noun}s"
