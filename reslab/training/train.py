"""Network + recipe + data -> run: trained, evaluated once, reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import keras

from reslab import data as datasets
from reslab.core import environment
from reslab.core.errors import UserError
from reslab.core.files import read_arrays, write_arrays
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data, Normalization, python
from reslab.data.normalize import stored
from reslab.data.sources import web
from reslab.evaluation import recorded_data
from reslab.report import page
from reslab.runs import recipe as recipes
from reslab.runs.options import TrainingOptions, weights_text
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import Network
from reslab.training import finetune, new_folder, notebook, plan, rebatch
from reslab.training.callbacks import UserCallbacks
from reslab.training.checkpoints import LAST, Checkpoints
from reslab.training.finish import finish
from reslab.training.log import Log
from reslab.training.loop import Loop
from reslab.training.prepare import Preparation, prepare
from reslab.training.record import run_info, sizes
from reslab.training.setup import Training, set_up

NORMALIZATION = "standardise.safetensors"
OPTIONS = fields(TrainingOptions)
Callbacks = Sequence[keras.callbacks.Callback]


def train(
    network: str | Network,
    data: Any,
    recipe: str | Path | Recipe | None = None,
    *,
    weights: str | Path | None = None,
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
    freeze_bn: bool = False,
    recalibrate_bn: bool = False,
    out: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    epochs: float | None = None,
    batch: int | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    validation: float | None = None,
    test: float | str | None = None,
    images: int | None = None,
    precision: str = "float32",
    seed: int = 0,
    balance: bool = False,
    class_weights: Mapping[str, float] | None = None,
    skip_bad: bool = False,
    group: str | None = None,
    columns: Mapping[str, str] | None = None,
    keep_seen: bool = False,
    keep_checkpoints: bool = False,
    checkpoint_seconds: float = 60.0,
    stacked: bool | None = None,
    remat: bool | None = None,
    jit_compile: bool = False,
    workers: int = 2,
    track: str | Sequence[str] = (),
    insecure: bool = False,
    callbacks: Callbacks = (),
    watch: Watch | None = None,
) -> Run:
    """Train a network, choose the epoch on validation images, and evaluate it once on the test set.

    The run's folder holds everything: run.json, the log, checkpoints, the whole model, the
    evaluation and a report. A run that was interrupted is continued by `resume`; it ends with the
    same bits as one that was not interrupted, on the same machine and backend.

    Args:
        network: A name from `reslab list`, or a description (`reslab.Network`).
        data: A source as in `reslab.data.load`: a name, a folder, a table, or data in Python such
            as (images, labels); or loaded data.
        recipe: A name, a .toml file or a `Recipe`. Defaults to "fine-tune" with `weights`, else to
            "quick".
        weights: Where to start from: a weights file, another run's folder, or a published name
            ("timm/resnet50.a1_in1k", "hf://USER/NAME"). The head is initialised if the classes are
            different ones.
            Defaults to new weights.
        scheme: The library whose names `weights` has: "torchvision", "timm", "keras", "keras_hub"
            or "reslab". "auto" detects it.
        strict: Whether all tensors of `weights` must match. If False, those with equal names and
            shapes are loaded, and a note lists the others.
        ema: Whether averages over training steps (EMA, SWA) are taken, where `weights` has both
            them and the weights of the last step.
        freeze_bn: Freeze batch norm: keep the running statistics, scale and shift of `weights`.
        recalibrate_bn: Measure batch norm's statistics again after the training, over all training
            images.
        out: The folder of the run, which must not exist. Defaults to runs/NETWORK-DATA-RECIPE-N.
        changes: Fields of the recipe to change, such as `{"rate": 0.05}`.
        epochs: The length of the training. The schedule is rescaled to it. Defaults to the
            recipe's.
        batch: Images per step. Defaults to the recipe's.
        size: The side of the images in pixels, or (height, width). Defaults to the network's for
            folders of images, and else to the size that they have.
        channels: 1 for grey images, 3 for RGB. Defaults to RGB for folders of images, and else to
            what they are.
        validation: The validation part: a fraction or a number of images, 0 for none. Defaults to
            the recipe's.
        test: The test part of a folder without one: a fraction, a number of images, "none", or the
            path of other data with the same classes. Defaults to a fifth.
        images: Train on a sample of this many training images, drawn evenly from the classes.
        precision: "float32", or "mixed": computes in bfloat16 with float32 weights.
        seed: Determines the first weights, the order of the images and the augmentation;
            0 to 2**32 - 1.
        balance: Weight the images in the loss so that each class has the same total weight.
        class_weights: Weights of the images in the loss by the name of their class, such as
            `{"rare": 5}`; the other classes have 1.
        skip_bad: Skip images that cannot be read, instead of an error.
        group: A regular expression, for folders of images: files whose path gives the same match
            are one group, and come into the same part (see `reslab.data.load`).
        columns: The columns of a table of files and labels by their kind, such as
            `{"label": "species", "group": "patient"}`; kinds are image, label, split and group.
        keep_seen: Test also on images that an ancestor of `weights` was trained on. By default they
            are left out.
        keep_checkpoints: Keep the weights of every epoch.
        checkpoint_seconds: The time between two checkpoints: a kill loses at most that much work.
        stacked: Build units that repeat as one layer with stacked variables (see `reslab.create`).
            Defaults to a choice by depth and memory.
        remat: Recompute the activations of stacked units in the backward pass, which needs less
            memory and more time. Defaults to a choice by memory.
        jit_compile: Compile the network. On PyTorch by torch.compile in the first step, on
            TensorFlow by XLA; JAX always compiles.
        workers: Threads that decode image files.
        track: Trackers that get the training: "tensorboard", "mlflow", "wandb", "trackio". Each
            runs in a process of its own, so it changes nothing about the training; if it fails,
            there is a note. A resumed run goes on with them.
        insecure: Accept downloads without TLS, with an invalid certificate, or without a known
            checksum. A wrong checksum is refused in any case.
        callbacks: Keras callbacks. They see one training: `on_train_begin` is called once (again
            after a resume), epochs are counted through, and the logs have "loss", "accuracy",
            "val_loss" and "val_accuracy". A callback that sets `model.stop_training` ends the
            training early; the run is then evaluated and reported. A callback that raises an error
            stops the run, and its status becomes "failed".
        watch: Gets the progress; see `reslab.core.progress.Watch`.

    Returns:
        The finished run.

    Raises:
        UserError: An argument does not fit, or the loss is not finite.
        Interrupted: SIGINT or SIGTERM stopped the run, which was saved (a `KeyboardInterrupt`).
    """
    arguments = locals()
    options = TrainingOptions(**{field.name: arguments[field.name] for field in OPTIONS})
    with web.insecure(insecure):
        return train_with(network, data, options, callbacks, watch)


@on_signals(interrupt)
def train_with(
    network: str | Network,
    data: Any,
    options: TrainingOptions,
    callbacks: Callbacks = (),
    watch: Watch | None = None,
) -> Run:
    """`train` with its options as one value."""
    environment.check_clock()
    new_folder.check(options)
    prepared = prepare(network, data, options)
    plan.refuse_without_effect(prepared, data, options)
    return train_prepared(prepared, options, callbacks, watch)


def train_prepared(
    prepared: Preparation,
    options: TrainingOptions,
    callbacks: Callbacks = (),
    watch: Watch | None = None,
    **info: Any,
) -> Run:
    """Train what is prepared. `info` are entries of run.json that replace those of this process."""
    path = new_folder.path(prepared, options)
    run = Run.create(path, {"name": path.name, **run_info(prepared, options), **info})
    with run.only_writer():
        with run.or_nothing():
            loop = _begin(run, prepared, callbacks, watch)
        return finish(loop)


@on_signals(interrupt)
def resume(
    path: str | Path,
    *,
    epochs: float | None = None,
    out: str | Path | None = None,
    data: Any = None,
    batch: int | None = None,
    remat: bool | None = None,
    callbacks: Callbacks = (),
    watch: Watch | None = None,
) -> Run:
    """Continue a run that was interrupted.

    A finished run is only opened; its report is written if it is missing. With `epochs`, a new run
    starts from the weights of a finished one and trains that many epochs more.

    Args:
        path: The run's folder.
        epochs: The length of a new run that starts from this finished one: with its network, data
            and options, and its recipe rescaled to the new length. Defaults to no new run.
        out: The folder of that new run, as in `train`.
        data: The run's data, if they were made in Python (the same as in `train`) or are loaded
            already. They are compared with the run's checksum. Or the place to which they were
            moved, which the run remembers.
        batch: Another batch from here on, such as a smaller one for a run without enough memory.
            The training keeps its length and its schedule in epochs and goes on with the next
            image; the learning rates are multiplied by new batch / old batch. The run records it.
        remat: Whether to recompute the activations of units that repeat in the backward pass from
            here on, which needs less memory and more time.
        callbacks: Keras callbacks, as in `train`. They begin with `on_train_begin` and continue
            with the epoch in which the run was interrupted.
        watch: Gets the progress; see `reslab.core.progress.Watch`.

    Returns:
        The finished run; with `epochs` the new one.

    Raises:
        UserError: There is no run, `epochs`, `out`, `batch` or `remat` do not go with it, the data
            or the backend are not those of the run, or there is not enough memory.
        Interrupted: SIGINT or SIGTERM stopped the run, which was saved (a `KeyboardInterrupt`).
    """
    if isinstance(data, str | Path):
        recorded_data.move(Path(path), data)
        data = None
    run = Run.open(path)
    if epochs is not None or out is not None:
        return _train_further(run, epochs, out, data, (batch, remat), callbacks, watch)
    if run.info["status"] == "done":
        if batch is not None or remat is not None:
            raise UserError(
                f"{path} is finished, so --batch and --remat have no effect: leave them out, or "
                "train a new run from it with --epochs N"
            )
        if not (run.path / "report.html").exists():  # killed before it was written
            with run.only_writer():
                page.write([run], run.path / "report.html")
        return run
    with run.only_writer():
        return _resume(Run.open(path), data, (batch, remat), callbacks, watch)


def _resume(
    run: Run,
    data: Any,
    changes: tuple[int | None, bool | None],
    callbacks: Callbacks,
    watch: Watch | None,
) -> Run:
    """`resume` of a run that no other process trains."""
    if run.info["status"] == "done":  # by another process, a moment ago
        return run
    path = run.path
    backend = keras.backend.backend()
    if backend != run.info["backend"]:
        raise UserError(
            f"{path} was started on {run.info['backend']}: add --backend {run.info['backend']}"
        )
    if run.info.get("weights") and not (run.checkpoints / LAST).exists():
        raise UserError(
            f"{path} was killed before its weights were in it: delete it, and start again with "
            f"{weights_text(run.info['weights'])}"
        )
    data = recorded_data.reload(run) if data is None else _check_data(run, data)
    notes = rebatch.change(run, *changes)
    loop = _loop(set_up(run, data, _normalization(run, data)), callbacks, watch)
    loop.progress = loop.checkpoints.restore()
    if not (run.checkpoints / LAST).exists():  # killed before the first checkpoint
        _log_notes(loop, _notes(loop.training))
    notes += rebatch.continue_from(loop.progress, loop.training)
    for note in notes:
        loop.log.note(note)
    if notes:
        loop.checkpoints.save(loop.progress)
    run.save(status="running", why=None)
    return finish(loop)


def _train_further(
    run: Run,
    epochs: float | None,
    out: str | Path | None,
    data: Data | None,
    changes: tuple[int | None, bool | None],
    callbacks: Callbacks,
    watch: Watch | None,
) -> Run:
    """Train a new run from the weights of a finished one, on the same data."""
    if epochs is None:
        raise UserError("out is the folder of a new run that trains more epochs: add --epochs N")
    if run.info["status"] != "done":
        raise UserError(
            f"{run.path} is not finished: resume it without --epochs, its length is part of it"
        )
    data = recorded_data.reload(run) if data is None else _check_data(run, data)
    batch, remat = changes
    options, recipe = TrainingOptions.of_run(run.info), recipes.recorded(run.info["recipe"])
    if batch is not None:
        recipe = rebatch.rescaled(recipe, batch, len(data.train))
    if remat is not None:
        options = replace(options, remat=remat, stacked=remat or options.stacked)
    options = replace(
        options,
        recipe=recipe,
        epochs=epochs,
        weights=run.path,
        scheme="auto",
        strict=True,
        ema=True,
        out=out,
    )
    return train_with(run.network, data, options, callbacks, watch)


def _begin(run: Run, prepared: Preparation, callbacks: Callbacks, watch: Watch | None) -> Loop:
    """The loop of a new run, with its first checkpoint and its notes written."""
    data, recipe, start = prepared.data, prepared.recipe, prepared.start
    pretrained = start and start.normalization(data.image_shape)
    normalization = pretrained or datasets.normalization(data.train, recipe.standardise)
    arrays = {"mean": normalization.mean, "std": normalization.std}
    write_arrays(run.path / NORMALIZATION, arrays, {})
    prepared.lineage.write(run.path)
    training = set_up(run, data, normalization)
    loop = _loop(training, callbacks, watch)
    notes = _notes(training)
    if start is not None:
        how = "".join(f", --no-{k}" for k in ("strict", "ema") if k in start.options)
        notes.append(f"weights of {start.source_name} ({start.scheme} names{how})")
        notes += start.fill(training.main_model, run.network, data.classes, data.task)
    if pretrained:
        notes.append("images are normalised with the mean and std of the pretrained weights")
    _log_notes(loop, notes)
    loop.checkpoints.save(loop.progress)
    return loop


def _notes(training: Training) -> list[str]:
    """The notes that do not depend on given weights; a resumed run can make them again."""
    return [*plan.notes(training), *training.run.info.get("notes", [])]


def _log_notes(loop: Loop, notes: Sequence[str]) -> None:
    training = loop.training
    frozen = finetune.frozen_notes(
        training.recipe, training.run.network, training.model, training.total_steps
    )
    for note in [*notes, *frozen]:
        loop.log.note(note)


def _loop(training: Training, callbacks: Callbacks, watch: Watch | None) -> Loop:
    checkpoints = Checkpoints(training.run, training.model)
    users = UserCallbacks(callbacks, training)
    watch = watch or notebook.watch() or Watch()
    return Loop(training, checkpoints, Log(training, watch), users)


def _normalization(run: Run, data: Data) -> Normalization:
    try:
        path = run.path / NORMALIZATION
        return stored(read_arrays(path)[0], data.image_shape, path)
    except UserError:  # killed before this file was written: measured again, it is the same
        return datasets.normalization(data.train, run.info["recipe"]["standardise"])


def _check_data(run: Run, data: Any) -> Data:
    expected = run.info["data"]
    if not isinstance(data, Data):
        data = python.again(data, expected["provenance"], expected["classes"])
    if (data.checksum, sizes(data)) != (expected["checksum"], expected["counts"]):
        raise UserError(
            f"{run.path} was started with other data: {expected['name']}, {expected['counts']}"
        )
    return data
