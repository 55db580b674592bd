"""A run in memory: its network, compiled for its recipe, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np

from reslab.data import Data, Normalization, Pipeline
from reslab.evaluation.tasks.base import Targets, Task
from reslab.evaluation.tasks.registry import task_of
from reslab.models import build
from reslab.models.optimizers import optimizer
from reslab.models.scopes import policy
from reslab.runs import recipe as recipes
from reslab.runs.options import TrainingOptions
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import Network, summary
from reslab.training import batchnorm, finetune
from reslab.training.feed import source

DTYPES = {"float32": "float32", "mixed": "mixed_bfloat16"}


@dataclass(frozen=True, eq=False)
class Training:
    """What the loop over epochs works on; it is the same for a new run and for a resumed one.

    Attributes:
        model: The model that is trained: normalised images to the logits of every head.
        main_model: The same layers without auxiliary heads.
        loss_weights: The weight of each head in the loss, by the name of the output.
        rates: The learning rate of each step; None if it follows the validation results.
        batches_from: The batches of an epoch, from one of its steps on.
    """

    run: Run
    recipe: Recipe
    options: TrainingOptions
    data: Data
    task: Task
    normalization: Normalization
    model: keras.Model
    main_model: keras.Model
    loss_weights: dict[str, float]
    rates: list[float] | None
    batch: int
    steps_per_epoch: int
    total_steps: int
    targets: Targets
    batches_from: Callable[[int, int], Iterator[tuple[Any, np.ndarray]]]

    def batches(self, epoch: int, start: int, count: int) -> Generator[tuple[Any, ...]]:
        """`count` batches for `fit`: images, targets and, if the task has some, image weights."""
        for images, labels in islice(self.batches_from(epoch, start), count):
            targets, weights = self.targets(labels)
            targets = per_head(targets, self.loss_weights)
            if weights is None:
                yield images, targets
            else:
                yield images, targets, per_head(weights, self.loss_weights)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        if self.rates is None:
            return float(self.model.optimizer.learning_rate)
        return self.rates[step]


def set_up(
    run: Run, data: Data, normalization: Normalization, rates: list[float] | None = None
) -> Training:
    """Build and compile the run's network with its first weights, and open its batches.

    `rates` replaces the learning rates of the recipe.
    """
    options, task = TrainingOptions.of_run(run.info), task_of(run.info)
    recipe = recipes.recorded(run.info["recipe"])
    pipeline = Pipeline(
        data.train,
        batch=recipe.batch,
        seed=options.seed,
        augment=recipe.augment,
        normalise=normalization,
        workers=options.workers,
    )
    total_steps = recipe.total_steps(pipeline.steps_per_epoch)
    loss_weights = {"head": 1.0} | {f"{row}_aux": w for row, (_, w) in run.network.aux.items()}
    model = _build(run.network, options)
    rates = rates or step_rates(recipe, run.network, total_steps)
    compile_model(
        model,
        recipe,
        task,
        rates,
        multipliers=finetune.multipliers(recipe, run.network, model, total_steps),
        loss_weights=loss_weights,
        metrics=task.metrics(),
        jit_compile=options.jit_compile or "auto",
    )
    return Training(
        run=run,
        recipe=recipe,
        options=options,
        data=data,
        task=task,
        normalization=normalization,
        model=model,
        main_model=build.main_output(model),
        loss_weights=loss_weights,
        rates=rates,
        batch=pipeline.batch,
        steps_per_epoch=pipeline.steps_per_epoch,
        total_steps=total_steps,
        targets=task.targets(data, options.balance, options.class_weights),
        batches_from=source(pipeline, model.input_shape),
    )


def _build(network: Network, options: TrainingOptions) -> keras.Model:
    keras.utils.set_random_seed(options.seed)
    with precision(options.precision):
        model = build.create(
            network,
            aux=bool(network.aux),
            stacked=bool(options.stacked),
            remat=bool(options.remat),
        )
    if options.freeze_bn:
        batchnorm.freeze_bn(model)
    return model


def precision(name: str) -> AbstractContextManager[None]:
    """Layers created inside compute in "float32", or "mixed" (bfloat16 with float32 weights)."""
    return policy(DTYPES[name])


def step_rates(recipe: Recipe, network: Network, total_steps: int) -> list[float] | None:
    """The learning rate of each step; None if it follows the validation results."""
    if recipe.schedule == "plateau":
        return None
    return recipe.rates(total_steps, summary.depth(network))


def compile_model(
    model: keras.Model,
    recipe: Recipe,
    task: Task,
    rates: list[float] | None,
    *,
    multipliers: Any = None,
    loss_weights: dict[str, float] | None = None,
    metrics: list[keras.metrics.Metric] | None = None,
    jit_compile: bool | str = "auto",
) -> None:
    """Compile a model with the recipe's optimizer and the task's loss for each of its heads."""
    heads = loss_weights or {"head": 1.0}
    metrics = metrics or []
    model.compile(
        optimizer=optimizer(recipe, rates, model, multipliers),
        loss=per_head(task.loss(recipe), heads),
        loss_weights=heads if len(heads) > 1 else None,
        metrics={"head": metrics} if len(heads) > 1 else metrics,
        jit_compile=jit_compile,
    )
    model.optimizer.build(model.trainable_variables)


def per_head(value: Any, heads: dict[str, float]) -> Any:
    """The same value for each output, if the model has auxiliary heads."""
    return dict.fromkeys(heads, value) if len(heads) > 1 else value
