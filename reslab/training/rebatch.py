"""Another batch or recomputed activations for a run that is resumed, such as one without memory.

The training stays the same in epochs: its length, its schedule and the order of the images. The
learning rates are multiplied by new batch / old batch (the linear rule of Goyal et al. 2017, as in
`reslab.runs.sizing`). A checkpoint knows the batch that its steps are counted in, so whatever is
killed in between, the next resume finds out where it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reslab.core.errors import UserError
from reslab.runs import recipe as recipes
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import stacks
from reslab.training.log import Progress
from reslab.training.setup import Training


def rescaled(recipe: Recipe, batch: int, images: int) -> Recipe:
    """The recipe with another batch, and with the same length in epochs.

    Raises:
        UserError: There are not so many images, or the batch is below 1.
    """
    if not 1 <= batch <= images:
        raise UserError(f"--batch {batch}: give 1 to {images:,}, the number of training images")
    old = min(recipe.batch, images)
    epochs = recipe.epochs or recipe.steps / (images // old)
    factor = batch / old
    return replace(
        recipe,
        batch=batch,
        rate=recipe.rate * factor,
        warmup_rate=recipe.warmup_rate * factor,
        epochs=epochs,
        steps=0,
    )


def change(run: Run, batch: int | None, remat: bool | None) -> list[str]:
    """Record the new batch, or whether to recompute activations, in run.json; return notes.

    Raises:
        UserError: The batch is not possible, or the network has no units that repeat.
    """
    changes: dict[str, Any] = {}
    history, notes = list(run.info.get("resumed_with", [])), []
    recipe = recipes.recorded(run.info["recipe"])
    if batch is not None and batch != recipe.batch:
        new = rescaled(recipe, batch, int(run.info["data"]["counts"]["train"]))
        changes["recipe"] = recipes.to_json(new)
        before = {"batch": recipe.batch, "rate": recipe.rate}
        history.append({"batch": new.batch, "rate": new.rate, "before": before})
    if remat is not None and remat != bool(run.info.get("remat")):
        if remat and not stacks.stacks(run.network, aux=True):
            raise UserError(
                f"{run.network.name} has no units that repeat, so --remat saves nothing: use a "
                "smaller --batch"
            )
        changes |= {"remat": remat, "stacked": remat or run.info.get("stacked", False)}
        history.append({"remat": remat})
        verb = "recomputed in" if remat else "kept for"
        notes.append(f"from here on, activations of stacked units are {verb} the backward pass")
    if changes:
        run.save(**changes, resumed_with=history)
    return notes


def continue_from(progress: Progress, training: Training) -> list[str]:
    """Count the steps of a checkpoint in the batch of the training, and return notes about it.

    In the middle of an epoch the training goes on with the next image. If the images before it are
    not a whole number of the new batches, those of the last, incomplete one are repeated.
    """
    images, new = len(training.data.train), training.batch
    old = progress.batch or min(training.run.first_batch, images)  # older ones do not say it
    progress.batch = new
    if old == new:
        return []
    per_epoch = images // old
    within = progress.step - progress.epoch * per_epoch
    epochs = progress.step / per_epoch
    progress.earlier_step = max(progress.earlier_step, progress.step)
    if progress.step >= training.recipe.total_steps(per_epoch):
        progress.step = training.total_steps
    else:
        seen = min(within * old // new, training.steps_per_epoch)
        progress.step = progress.epoch * training.steps_per_epoch + seen
    training.model.optimizer.iterations.assign(progress.step)
    when = f"after {epochs:.3g} {'epoch' if epochs == 1 else 'epochs'}"
    when = when if epochs else "from the start"
    rate = training.recipe.rate
    return [
        f"{when}: batch {new:,} instead of {old:,}, learning rate {rate:.4g} instead of "
        f"{rate * old / new:.4g}; {training.total_steps:,} steps in all, as many epochs as before"
    ]
