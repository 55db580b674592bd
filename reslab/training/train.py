"""Network + recipe + data -> run: trained, judged once, reported."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import keras

from reslab import data as sets
from reslab import zoo
from reslab.core import environment as place
from reslab.core.errors import UserError, unknown
from reslab.core.files import read_arrays, write_arrays, writing
from reslab.core.interrupts import interrupt, on_signals
from reslab.data import Data, Normalization, augment, normalization
from reslab.evaluation import evaluation
from reslab.evaluation.scoring import score
from reslab.models import saved
from reslab.report import page
from reslab.runs import papers
from reslab.runs import recipe as recipes
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import Network, summary
from reslab.spec.serialize import encode_network
from reslab.spec.transforms import with_classes
from reslab.training import batchnorm, finetune, memory
from reslab.training.loop import NotFinite, Session, Watcher
from reslab.weights import stacked as stacking

PRECISIONS = "float32", "mixed"


@on_signals(interrupt)
def train(
    network: str | Network,
    data: str | Path | Data,
    recipe: str | Path | Recipe | None = None,
    *,
    weights: str | Path | None = None,
    freeze_bn: bool = False,
    recalibrate_bn: bool = False,
    out: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    epochs: float | None = None,
    batch: int | None = None,
    size: int | None = None,
    images: int | None = None,
    precision: str = "float32",
    seed: int = 0,
    balance: bool = False,
    skip_bad: bool = False,
    keep_checkpoints: bool = False,
    checkpoint_seconds: float = 60.0,
    stacked: bool | None = None,
    remat: bool | None = None,
    jit_compile: bool = False,
    workers: int = 2,
    watcher: Watcher | None = None,
) -> Run:
    """Train a network, choose the epoch on the validation images, judge it once on the test set.

    `network` is a name of the zoo or a description; `data` a source (see `reslab.data.load`) or
    loaded data; `changes` are fields of the recipe. `epochs` rescales the recipe's schedule.
    `weights` is where to start from: a file, another run's folder, or a published name
    ("timm/resnet50.a1_in1k"); the head starts afresh where the classes are others. `recipe` is
    then "fine-tune", else "quick", where none is named. `freeze_bn` leaves batch norm as the
    weights have it, `recalibrate_bn` measures its statistics anew after the training.
    `size` is the side of the images in pixels; `images` a sample of the training images, each
    class its share. `balance` weighs every class alike.
    `stacked` has units that repeat run as one layer, and `remat` computes them anew on the way
    back (see `reslab.create`); where they are None, the depth and the memory at hand decide.
    `jit_compile` is Keras's: PyTorch, which runs the network eagerly, compiles it in the first
    step by torch.compile; TensorFlow does by XLA, and JAX always.
    `checkpoint_seconds` is what a kill costs at most. `out` defaults to
    runs/NETWORK-DATA-RECIPE-N. Returns the run, which holds the model, the judgement and the
    report. Raises UserError for whatever does not fit, and where the loss stops being a number;
    `session.Interrupted` after SIGINT or SIGTERM.
    """
    net = zoo.network(network)
    if recipe is None:
        recipe = "quick" if weights is None else finetune.RECIPE
    chosen = _recipe(recipe, changes, epochs, batch)
    _check_bn(weights, freeze_bn, recalibrate_bn)
    augment.by_stage(chosen.augment)  # what cannot be is answered before the data are loaded
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}; it is a number from 0 to {2**32 - 1}")
    if out is not None and _exists(Path(out)):
        raise UserError(
            f"{out} exists already: choose another --out, or `reslab train --resume {out}`"
        )
    start = None if weights is None else finetune.start(weights, net)
    net = net if start is None else start.network
    if not isinstance(data, Data):
        data = load_data(data, net, chosen, size, skip_bad)
    if images is not None:
        data = sets.sample(data, images)
    net = fit_to(net, data)
    summary.counts(net)  # says at once where the images are too small for the network
    chosen, notes = for_data(chosen, data)
    if chosen.schedule == "plateau" and data.validation is None:
        raise UserError(
            f"recipe {chosen.name} watches the validation error: set validation above 0"
        )
    chosen.total_steps(len(data.train) // chosen.batch)  # says at once where they are too many
    width = 2 if precision == "mixed" else 4
    how = memory.choose(net, chosen.batch, width, stacked, remat)
    notes += [how.note] if how.note else []
    notes += ["the first step compiles the network, and takes its time"] if jit_compile else []

    info = _info(net, data, chosen) | {
        "seed": seed,
        "precision": precision,
        "balance": balance,
        "keep_checkpoints": keep_checkpoints,
        "checkpoint_seconds": checkpoint_seconds,
        "workers": workers,
        "weights": start and start.info,
        "freeze_bn": freeze_bn,
        "recalibrate_bn": recalibrate_bn,
        "stacked": how.stacked,
        "remat": how.remat,
        "jit_compile": jit_compile,
    }
    path = Path(out) if out is not None else _free(f"runs/{net.name}-{data.name}-{chosen.name}")
    run = Run.create(path, {"name": path.name, **info})
    with run.or_nothing():
        session = _begin(run, chosen, data, start, notes, watcher)
    return _finish(session)


@on_signals(interrupt)
def resume(path: str | Path, watcher: Watcher | None = None, data: Data | None = None) -> Run:
    """Go on with a run that was interrupted; a finished one gets what it may lack, its report.

    `data` are the run's, where they were made in Python, or are loaded already. Raises UserError
    where the data or the backend are not the run's.
    """
    run = Run.open(path)
    if run.info["status"] == "done":
        if not (run.path / "report.html").exists():  # killed before it was written
            page.write([run], run.path / "report.html")
        return run
    backend = keras.backend.backend()
    if backend != run.info["backend"]:
        raise UserError(
            f"{path} was started on {run.info['backend']}: add --backend {run.info['backend']}"
        )
    if run.info.get("weights") and not (run.checkpoints / "last.safetensors").exists():
        raise UserError(
            f"{path} was killed before its weights were in it: delete it, and start again with "
            f"--weights {run.info['weights']['source']}"
        )
    data = evaluation.reload(run) if data is None else _given(run, data)
    try:
        arrays, _ = read_arrays(run.path / "standardise.safetensors")
        standard = Normalization(arrays["mean"], arrays["std"])
    except UserError:  # killed between run.json and this file: made again, it is the same
        standard = normalization(data.train, run.info["recipe"]["standardise"])
    session = _session(run, data, standard, watcher)
    session.restore()
    run.save(status="running", why=None)
    return _finish(session)


def _given(run: Run, data: Data) -> Data:
    was = run.info["data"]
    if (data.checksum, _sizes(data)) != (was["checksum"], was["counts"]):
        raise UserError(f"{run.path} was started with other data: {was['name']}, {was['counts']}")
    return data


def _sizes(data: Data) -> dict[str, int]:
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: len(part) for name, part in parts.items() if part is not None}


def _begin(
    run: Run,
    recipe: Recipe,
    data: Data,
    start: finetune.Start | None,
    notes: list[str],
    watcher: Watcher | None,
) -> Session:
    """The session with its first checkpoint written, and what a person should know noted."""
    known = start and start.standard(data.image_shape)
    standard = known or normalization(data.train, recipe.standardise)
    arrays = {"mean": standard.mean, "std": standard.std}
    write_arrays(run.path / "standardise.safetensors", arrays, {})
    session = _session(run, data, standard, watcher)
    if start is not None:
        notes.append(f"weights of {start.said} ({start.scheme} names)")
        notes += start.fill(session.judged, run.network, data.classes)
    if known:
        notes.append("standardised as the weights were trained, not as these images measure")
    notes += finetune.what_moves(recipe, run.network, session.model, session.total)
    for note in notes:
        run.append(kind="note", text=note)
    session.save()
    return session


def load_data(
    source: str | Path, net: Network, recipe: Recipe, size: int | None, skip_bad: bool = False
) -> Data:
    """The data for this network: folders of pictures come in the network's own size."""
    return sets.load(
        source,
        size=size,
        validation=recipe.validation,
        skip_bad=skip_bad,
        folder_size=net.input_shape[0] or sets.FOLDER_SIZE,
    )


def fit_to(net: Network, data: Data) -> Network:
    """The network for these images and classes."""
    return replace(with_classes(net, len(data.classes)), input_shape=data.image_shape)


def _session(run: Run, data: Data, standard: Normalization, watcher: Watcher | None) -> Session:
    recipe = recipes.change(Recipe("run", epochs=1), run.info["recipe"])
    return Session(run, recipe, data, standard, watcher or Watcher())


def _finish(session: Session) -> Run:
    run, data, standard = session.run, session.data, session.standard
    try:
        session.train()
    except NotFinite as error:
        _failed(run, error)
        raise UserError(
            f"{error}: stopped; {run.checkpoints / 'last.safetensors'} holds the last good "
            "weights. Try a smaller rate: --set rate=..."
        ) from None
    run.save(chosen_epoch=session.progress.best_epoch)
    batchnorm.freeze_bn(session.judged, False)  # the file is as any other: nothing is held in it
    if run.info.get("recalibrate_bn"):
        _recalibrate(session)
    saved.save(
        saved.end_to_end(
            _for_file(session.judged, run.network), data.image_shape, standard.mean, standard.std
        ),
        run.model_path,
        card(run),
    )
    judged = run.evaluation is not None  # before a kill: the test set is not read again
    if not judged and (data.test is not None or data.validation is not None):
        try:
            evaluation.keep(run, evaluation.judged(run, data, own=True), own=True)
        except UserError as error:  # finite weights that give no finite answer
            _failed(run, error)
            raise
    run.save(status="done", finished=_now())
    page.write([run], run.path / "report.html")
    return run


def _for_file(model: keras.Model, net: Network) -> keras.Model:
    """Of single layers, which plain Keras opens, unless these are too many to be practical."""
    deep = summary.depth(net) > memory.FLAT_FILE
    return model if deep else stacking.flatten(model)


def _recalibrate(session: Session) -> None:
    """Batch norm's statistics from the training images; what it did to the validation error."""
    run, data, standard = session.run, session.data, session.standard

    def error() -> float | None:
        if data.validation is None:
            return None
        return score(session.judged, data.validation, standard, session.recipe.batch).error

    before = error()
    layers = batchnorm.recalibrate(session.judged, data.train, standard)
    found = {"layers": layers, "images": len(data.train)}
    run.save(recalibration={**found, "val_error_before": before, "val_error_after": error()})


def _check_bn(weights: object, freeze_bn: bool, recalibrate_bn: bool) -> None:
    if freeze_bn and weights is None:
        raise UserError("--freeze-bn keeps the statistics that came with --weights: give some")
    if freeze_bn and recalibrate_bn:
        raise UserError("--freeze-bn keeps batch norm's statistics, --recalibrate-bn replaces them")


def _failed(run: Run, why: Exception) -> None:
    run.save(status="failed", why=str(why))
    page.write([run], run.path / "report.html")


def card(run: Run) -> dict[str, Any]:
    """What a model file says of itself."""
    info = run.info
    return {
        "run": run.name,
        "classes": info["data"]["classes"],
        "image_shape": info["data"]["image_shape"],
        "view": info["data"]["facts"].get("view"),
        "data": info["data"]["name"],
        "network": info["network"],
    }


def _recipe(
    name: str | Path | Recipe,
    changes: Mapping[str, Any] | None,
    epochs: float | None,
    batch: int | None,
) -> Recipe:
    chosen = recipes.change(papers.recipe(name), changes or {})
    if batch is not None:
        chosen = recipes.change(chosen, {"batch": batch})
    return chosen if epochs is None else chosen.lasting(epochs)


def for_data(recipe: Recipe, data: Data) -> tuple[Recipe, list[str]]:
    """The recipe as these data allow it, and notes of what a person would not expect.

    No mirror images where they would be other characters; no batch above the images there are.
    """
    notes = []
    if skipped := data.facts.get("skipped"):
        n, first = len(skipped), f"{skipped[0]['file']} ({skipped[0]['why']})"
        which = (
            f"1 image that cannot be read: {first}"
            if n == 1
            else (f"{n} images that cannot be read, {first} the first")
        )
        notes.append(f"left out {which}")
    if "flip" in recipe.augment and not data.facts.get("mirrors", True):
        kept = tuple(step for step in recipe.augment if step != "flip")
        recipe = replace(recipe, augment=kept)
        notes.append(f"no mirror images: {data.name} would not bear them")
    if recipe.batch > (n := len(data.train)):
        notes.append(f"the batch is all {n:,} training images: there are no {recipe.batch:,}")
        recipe = replace(recipe, batch=n)
    return recipe, notes


def _info(net: Network, data: Data, recipe: Recipe) -> dict[str, Any]:
    sums = summary.counts(net)
    backend = keras.backend.backend()
    return {
        "command": shlex.join(["reslab", *sys.argv[1:]]) if _by_command() else None,
        "network": encode_network(net),
        "recipe": recipes.to_json(recipe),
        "data": {
            "name": data.name,
            "source": data.source,
            "classes": list(data.classes),
            "image_shape": list(data.image_shape),
            "checksum": data.checksum,
            "counts": _sizes(data),
            "facts": data.facts,
            "provenance": data.provenance,
        },
        "backend": backend,
        "versions": place.versions(),
        "commit": place.commit(),
        "machine": place.machine(backend),
        "params": sums.trainable_params,
        "multiply_adds": sums.multiply_adds,
        "started": _now(),
        "finished": None,
        "status": "running",
        "chosen_epoch": None,
    }


def _by_command() -> bool:
    program = Path(sys.argv[0])
    return program.stem == "reslab" or program.parts[-2:] == ("reslab", "__main__.py")


def _free(stem: str) -> Path:
    return next(path for n in count(1) if not _exists(path := Path(f"{stem}-{n}")))


def _exists(path: Path) -> bool:
    with writing(path, "choose another --out"):  # a name may be too long to look for
        return path.exists()
    return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
