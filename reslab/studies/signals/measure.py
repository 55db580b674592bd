"""Measure gradients and activations by layer: of a network and its twins, or of trained runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import keras

from reslab import zoo
from reslab.core.errors import UserError
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data, augment, normalization
from reslab.runs import papers
from reslab.runs import recipe as recipes
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import BN, Network, summary, walk
from reslab.studies import runs as study_runs
from reslab.studies import trained, units
from reslab.studies.finish import finish
from reslab.studies.folder import Study, default_path
from reslab.studies.signals import norms, page, results
from reslab.studies.signals.gradients import forward_backward
from reslab.studies.signals.training import ShortTraining
from reslab.studies.signals.twins import Twin, initialised, twins
from reslab.training import prepare

KIND = "signals"
FILE = results.FILE
RECIPE = "paper-cifar"
SEEDS, IMAGES = 3, 128
MAX_MOMENTS = 8  # moments of a training that are measured, the first and the last included


@on_signals(interrupt)
def measure_twins(
    network: str | Network,
    data: str | Path | Data,
    *,
    recipe: str | Path | Recipe = RECIPE,
    seeds: int = SEEDS,
    images: int = IMAGES,
    steps: int = 0,
    out: str | Path | None = None,
    watch: Watch | None = None,
) -> Study:
    """Measure gradients and activations by layer of a residual network and its three twins.

    They are measured at initialisation, on one batch of training images, and with `steps` also
    during the first steps of a training.

    Args:
        network: A residual network or its name.
        data: The data, or their source.
        recipe: The recipe of the training.
        seeds: Number of initialisations.
        images: Size of the batch.
        steps: Number of training steps; the moments are spaced evenly in log(step).
        out: Folder of the study; default: studies/signals-NETWORK-DATA. An interrupted study there
            is continued.
        watch: Receives progress.

    Raises:
        UserError: The arguments do not fit together.
        Interrupted: A signal stopped the process.
    """
    watch = watch or Watch()
    net, chosen = zoo.network(network), papers.recipe(recipe)
    _check(net, chosen, seeds, images, steps)
    if not isinstance(data, Data):
        data = prepare.load_data(data, net, chosen)
    trained.refuse_several_labels(data)
    net = prepare.fit_network(net, data)
    summary.counts(net)  # raises UserError where the images are too small for the network
    chosen, _ = prepare.fit_recipe(chosen, data)
    total = chosen.total_steps(len(data.train) // chosen.batch)
    if steps > total:
        raise UserError(f"--steps {steps}: recipe {chosen.name} has {total:,} on {data.name}")
    settings = {
        "network": net.name,
        "data": data.source,
        "checksum": data.checksum,
        "recipe": recipes.to_json(chosen),
        "seeds": seeds,
        "images": images,
        "steps": steps,
    }
    backend = keras.backend.backend()
    out = out or default_path(KIND, net.name, data.name, *_options(settings))
    study = Study.begin(out, KIND, {**settings, "backend": backend}, backend)
    watch.say(f"study: {study.path}")
    _TwinsMeasurement(study, data, chosen, watch).run(net, seeds, images, steps)
    return _finish(study)


@on_signals(interrupt)
def measure_runs(
    runs: Sequence[Run | str | Path],
    *,
    images: int = IMAGES,
    out: str | Path | None = None,
    data: Data | None = None,
    watch: Watch | None = None,
) -> Study:
    """Measure gradients and activations by layer of trained runs.

    They are measured on training images without augmentation: at each epoch whose checkpoint was
    kept, else with the final weights.

    Args:
        runs: The runs or their folders.
        images: Size of the batch.
        out: Folder of the study; default: studies/signals-RUNS. An interrupted study there is
            continued.
        data: The data of the runs, if they are loaded already.
        watch: Receives progress.

    Raises:
        UserError: The arguments do not fit together.
        Interrupted: A signal stopped the process.
    """
    watch = watch or Watch()
    opened = study_runs.open_runs(runs)
    if images < 2:
        raise UserError(f"--images {images}: at least 2")
    backend = keras.backend.backend()
    moments = [_run_moments(run) for run in opened]
    final = [checkpoints[-1][1] is None for checkpoints in moments]
    identities = list(map(study_runs.identity, opened, final))
    settings = {"runs": identities, "images": images, "backend": backend}
    options = [f"{images}images"] if images != IMAGES else []
    out = out or study_runs.study_path(KIND, opened, *options)
    study = Study.begin(out, KIND, settings, backend)
    watch.say(f"study: {study.path}")
    content = study.read(FILE) or {"unit": "epoch", "nets": []}
    watch.start(sum(map(len, moments)))
    done = 0
    for run, checkpoints in zip(opened, moments, strict=True):
        entry = _run_entry(content, run)
        measured = {moment["at"] for moment in entry["moments"]}
        left = [(epoch, name) for epoch, name in checkpoints if epoch not in measured]
        done += len(checkpoints) - len(left)
        if left:
            loaded = study_runs.load_flat(run, images, "train", data)
            for epoch in _measure_run(entry, loaded, left):
                study.write(FILE, content)
                done += 1
                watch.step(done, f"{run.name}, epoch {epoch}")
            last = entry["moments"][-1]["at"]
            watch.say(f"{run.name}, epoch {last}: {norms.describe_ends(entry)}")
    return _finish(study)


def _finish(study: Study) -> Study:
    figures, sections = page.figures(study), page.sections(study)
    return finish(study, page.TITLE, figures, sections, results.summarise(study))


# Twins --------------------------------------------------------------------------------------------


def _check(network: Network, recipe: Recipe, seeds: int, images: int, steps: int) -> None:
    if not any(unit.residual for unit in units.units(network)):
        raise UserError(
            f"{network.name} has no residual units and no plain twin: name a residual network"
        )
    for name, value, least in (("seeds", seeds, 1), ("images", images, 2), ("steps", steps, 0)):
        if value < least:
            raise UserError(f"--{name} {value}: at least {least}")
    augment.by_stage(recipe.augment)  # raises UserError before a folder is created
    if steps and recipe.schedule == "plateau":
        raise UserError(
            f"recipe {recipe.name} depends on validation errors: choose another --recipe"
        )


def _options(settings: Mapping[str, Any]) -> list[str]:
    """The parts of the folder's name for settings that are not the default."""
    options = [settings["recipe"]["name"]] if settings["recipe"]["name"] != RECIPE else []
    options += [f"{settings['steps']}steps"] if settings["steps"] else []
    options += [f"{settings['seeds']}seeds"] if settings["seeds"] != SEEDS else []
    options += [f"{settings['images']}images"] if settings["images"] != IMAGES else []
    return options


def measured_steps(steps: int, most: int = MAX_MOMENTS) -> list[int]:
    """Return 0 and steps that are spaced evenly in their logarithm, `steps` the last."""
    if not steps:
        return [0]
    spaced = {round(steps ** (i / (most - 2))) for i in range(most - 1)}
    return [0, *sorted(spaced)]


class _TwinsMeasurement:
    """Measures what the study does not contain yet."""

    def __init__(self, study: Study, data: Data, recipe: Recipe, watch: Watch) -> None:
        self.study, self.data, self.recipe, self.watch = study, data, recipe, watch
        self.normalization = normalization(data.train, recipe.standardise)
        self.state_file = study.path / "training.safetensors"  # of an interrupted training
        self.content = study.read(FILE) or {"unit": "step", "nets": []}
        self.done = 0

    def run(self, network: Network, seeds: int, images: int, steps: int) -> None:
        moments, networks = measured_steps(steps), twins(network)
        work = steps + len(moments)  # of one network with one seed
        self.watch.start(len(networks) * seeds * work)
        for number, (seed, twin) in enumerate(product(range(seeds), networks)):
            self.done = number * work
            entry = self._entry(twin, seed)
            measured = {moment["at"] for moment in entry["moments"]}
            if entry["stopped"] is None and moments[-1] not in measured:
                left = [step for step in moments if step not in measured]
                model = initialised(twin.network, network, seed)
                self._measure(twin, model, entry, images, left)
                self.watch.say(_describe(entry))
            self.watch.step(self.done + work, twin.label)
        self.state_file.unlink(missing_ok=True)

    def _measure(
        self,
        twin: Twin,
        model: keras.Model,
        entry: dict[str, Any],
        images: int,
        moments: list[int],
    ) -> None:
        """Measure one network at the moments that are left; continue an interrupted training."""
        seed, name = entry["seed"], f"{twin.label}, seed {entry['seed']}"
        names = [layer["path"] for layer in entry["layers"]]
        batch = trained.sample(self.data, self.normalization, model, images, "train")
        entry["said"] = batch.description
        training = ShortTraining(
            model, twin.network, self.data, self.recipe, self.normalization, seed
        )
        try:
            training.restore(self.state_file, name, moments[0])
        except UserError as error:
            self.watch.say(f"{error}; the training of {name} starts again")
        for step in moments:
            entry["stopped"] = training.advance(
                step, lambda n: self.watch.step(self.done + n, f"{name}, step {n}")
            )
            if entry["stopped"] is None:
                signals = forward_backward(model, names, batch.x, batch.labels)
                entry["moments"].append({"at": step, **norms.quantities(signals)})
                if moments[-1]:
                    training.save(self.state_file, name)
            self.study.write(FILE, self.content)
            if entry["stopped"]:
                break

    def _entry(self, twin: Twin, seed: int) -> dict[str, Any]:
        """The entry of a network in signals.json, a new one if there is none."""
        for entry in self.content["nets"]:
            if entry["label"] == twin.label and entry["seed"] == seed:
                return entry
        entry = _new_entry(twin.network, twin.label, twin.kind, twin.bn, seed)
        self.content["nets"].append(entry)
        return entry


def _new_entry(
    network: Network, label: str, kind: str, bn: bool, seed: int | None
) -> dict[str, Any]:
    return {
        "name": network.name,
        "label": label,
        "kind": kind,
        "bn": bn,
        "seed": seed,
        "layers": [layer.as_json() for layer in units.kernel_layers(network)],
        "moments": [],
        "stopped": None,
    }


def _describe(entry: Mapping[str, Any]) -> str:
    """One line about a network: its gradient norms at the last moment."""
    start = f"{entry['label']}, seed {entry['seed']}, step {entry['moments'][-1]['at']}"
    end = f"; {entry['stopped']['why']}" if entry["stopped"] else ""
    return f"{start}: {norms.describe_ends(entry)}{end}"


# Runs ---------------------------------------------------------------------------------------------


def _run_moments(run: Run) -> list[tuple[int, str | None]]:
    """(epoch, checkpoint) of the moments to measure; None stands for the final weights."""
    kept = sorted(path.stem for path in run.checkpoints.glob("epoch-*.safetensors"))
    if kept:
        return [(int(name.removeprefix("epoch-")), name) for name in kept]
    return [(run.info.get("chosen_epoch") or 0, None)]


def _run_entry(content: dict[str, Any], run: Run) -> dict[str, Any]:
    for entry in content["nets"]:
        if entry["label"] == run.name:
            return entry
    its_units = units.units(run.network)
    kind = "other" if not its_units else "residual" if its_units[0].residual else "plain"
    bn = any(isinstance(layer.part, BN) for layer in walk(run.network))
    entry = _new_entry(run.network, run.name, kind, bn, None)
    content["nets"].append(entry)
    return entry


def _measure_run(
    entry: dict[str, Any], loaded: trained.LoadedRun, left: Sequence[tuple[int, str | None]]
) -> Iterator[int]:
    """Measure the epochs that are left, and yield each."""
    entry["said"] = loaded.images.description
    names = [layer["path"] for layer in entry["layers"]]
    for epoch, checkpoint in left:
        if checkpoint is not None:
            arrays = trained.weights(loaded.run, checkpoint)
            loaded.assign({name: arrays[name] for name in loaded.variables()})
        signals = forward_backward(loaded.model, names, loaded.images.x, loaded.images.labels)
        entry["moments"].append({"at": epoch, **norms.quantities(signals)})
        yield epoch
