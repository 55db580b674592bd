"""The end of a run: train, write the whole model, evaluate it once, and write the report."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from reslab.core.errors import UserError, is_out_of_memory
from reslab.core.files import write_json
from reslab.core.interrupts import Interrupted
from reslab.evaluation import evaluation, suspects
from reslab.models import saved
from reslab.models.finite import check_finite
from reslab.report import page
from reslab.runs.run import Run
from reslab.spec import stacks, summary
from reslab.trackers.following import following
from reslab.training import batchnorm, memory
from reslab.training.callbacks import CallbackError
from reslab.training.checkpoints import LAST, NotFinite
from reslab.training.loop import Loop
from reslab.training.record import card, now
from reslab.training.setup import Training
from reslab.weights import stacked as stacked_weights


def finish(loop: Loop) -> Run:
    """Train, then write the model, its evaluation and the report."""
    training, run = loop.training, loop.training.run
    with _resumable(run), following(run, training.options.track, loop.log.watch) as watch:
        loop.log.watch = watch
        _train(loop)
        progress = loop.progress
        run.save(chosen_epoch=progress.best_epoch)
        if progress.stopped_by:
            loop.log.stopped(progress)
            run.save(stopped_early=progress.epoch)
        batchnorm.freeze_bn(training.main_model, False)  # the model file has no frozen layers
        if training.options.recalibrate_bn:
            _recalibrate(training)
        _save_model(training)
        _evaluate(training)
        _find_suspects(training, progress.step)
        run.save(status="done", finished=now())
        page.write([run], run.path / "report.html")
    return run


@contextmanager
def _resumable(run: Run) -> Iterator[None]:
    """Let an interruption, or too little memory, say how the run can be resumed."""
    try:
        yield
    except Interrupted as stop:
        stop.path = run.path
        raise
    except UserError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(_memory_advice(run)) from error


def _memory_advice(run: Run) -> str:
    batch = int(run.info["recipe"]["batch"])
    command = f"reslab train --resume {shlex.quote(str(run.path))}"
    ways = [f"`{command} --batch {batch // 2}`"] if batch > 1 else []
    if not run.info.get("remat") and stacks.stacks(run.network, aux=True):
        ways.append(f"`{command} --remat`")
    text = f"there is not enough memory for steps of {batch:,} images"
    if not ways:
        return f"{text}: start again with a smaller --size; {run.path} cannot do with less"
    return f"{text}: the run can be resumed with less, by {' or '.join(ways)}"


def _train(loop: Loop) -> None:
    run = loop.training.run
    try:
        loop.run()
    except NotFinite as error:
        _fail(run, error)
        raise UserError(
            f"{error}: stopped; {run.checkpoints / LAST} holds the last good weights. Try a lower "
            "learning rate: --set rate=..."
        ) from None
    except CallbackError as error:
        _fail(run, error)
        raise error.cause from None


def _save_model(training: Training) -> None:
    """Write the whole model: of single layers, which plain Keras opens, unless it is very deep."""
    run, normalization = training.run, training.normalization
    model = training.main_model
    if summary.depth(run.network) <= memory.FLAT_FILE:
        model = stacked_weights.flatten(model)
    task, data = training.task, training.data
    run.save(**task.decisions(training.main_model, data, normalization, training.recipe.batch))
    mean, std = normalization.mean, normalization.std
    model = saved.end_to_end(model, data.image_shape, mean, std, task.activation)
    try:
        check_finite(model, run.name)  # recalibration may have found activations without end
    except UserError as error:
        _fail(run, error)
        raise
    saved.save(model, run.model_path, card(run))


def _evaluate(training: Training) -> None:
    """Evaluate the model once; not again after a kill, so that the test set is read once."""
    run, data = training.run, training.data
    if run.evaluation is not None or (data.test is None and data.validation is None):
        return
    try:
        result = evaluation.evaluate_on(run, data, True, training.options.keep_seen)
        evaluation.store(run, result)
    except UserError as error:  # finite weights whose outputs are not finite
        _fail(run, error)
        raise


def _find_suspects(training: Training, steps: int) -> None:
    """Look for wrong labels among the training and validation images, which are not test images."""
    run = training.run
    if run.suspects is None:
        recipe, trained_on = training.recipe, steps * training.batch
        result = suspects.find(
            training.task,
            training.main_model,
            training.data,
            training.normalization,
            recipe.batch,
            trained_on,
        )
        write_json(run.path / "suspects.json", result)


def _recalibrate(training: Training) -> None:
    """Measure batch norm's statistics on the training images, and record the effect."""
    data, task = training.data, training.task

    def metric() -> float | None:
        if data.validation is None:
            return None
        values = task.validate(
            training.main_model, data.validation, training.normalization, training.recipe.batch
        )
        return values[task.metric]

    before = metric()
    layers = batchnorm.recalibrate(training.main_model, data.train, training.normalization)
    result = {
        "layers": layers,
        "images": len(data.train),
        f"val_{task.metric}_before": before,
        f"val_{task.metric}_after": metric(),
    }
    training.run.save(recalibration=result)


def _fail(run: Run, why: Exception) -> None:
    run.save(status="failed", why=str(why))
    page.write([run], run.path / "report.html")
