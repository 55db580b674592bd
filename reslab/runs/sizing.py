"""Batch, rate and length of the recipes `quick` and `fine-tune`, from the number of images.

The recipes are written down for large sets. On a smaller one their batch leaves few steps of a high
rate, and a training of five steps learns nothing. So of N training images:

    batch    16 below 1,000, 32 below 4,000, 64 below 20,000; at 20,000 as the recipe says
    rate     the recipe's, times batch / the recipe's batch (the linear rule of Goyal et al. 2017)
    length   at least the steps of `RULES`, which grow with N, and at least the recipe's epochs

docs/results/small-sets.md has the candidates that were measured on images that no test uses, and
what else decided. Fields that are given by hand stay as they are, and the others follow from them:
the rate from the batch, the length from both. If the given length is below the least steps s of 300
images, the rate is multiplied by sqrt(length / s): a short training at a high rate ends before the
loss has come down again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from reslab.runs.recipe import Recipe, change

LARGE = 20_000  # training images from which a recipe is used as it is written
BATCHES = ((1_000, 16), (4_000, 32), (LARGE, 64))  # below so many images


@dataclass(frozen=True)
class Rule:
    """The least number of steps of a training on a small set.

    Attributes:
        steps: For up to 300 images.
        growth: The exponent with which the steps grow with the number of images.
    """

    steps: int
    growth: float

    def least_steps(self, images: int) -> float:
        return self.steps * max(1.0, images / 300) ** self.growth


# quick: 300 steps of 16 at 300 images, 1,420 of 64 at 20,000: the five epochs of the recipe
RULES = {"quick": Rule(300, 0.37), "fine-tune": Rule(200, 0.37)}


def sized(recipe: Recipe, images: int, given: Mapping[str, Any]) -> Recipe:
    """The recipe for a training part of this size.

    Args:
        recipe: A recipe of `reslab.runs.papers`. Those without a rule are returned as they are.
        images: The number of training images.
        given: Fields that a person gave, which the caller sets afterwards.

    Returns:
        The recipe with another batch, rate and number of epochs.
    """
    rule = RULES.get(recipe.name)
    if rule is None or images >= LARGE:
        return recipe
    asked = change(recipe, given)
    batch = min(recipe.batch, next(batch for below, batch in BATCHES if images < below), images)
    if "batch" in given:
        batch = asked.batch
    steps_per_epoch = max(1, images // min(batch, images))
    rate = recipe.rate * min(1.0, batch / recipe.batch)
    epochs = max(recipe.epochs, float(math.ceil(rule.least_steps(images) / steps_per_epoch)))
    if given.keys() & {"epochs", "steps"}:
        steps = asked.total_steps(steps_per_epoch)
        rate *= math.sqrt(min(1.0, steps / rule.steps))
    return replace(recipe, batch=batch, rate=float(f"{rate:.2g}"), epochs=epochs)
