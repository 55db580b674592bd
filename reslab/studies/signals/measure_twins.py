"""A net, its plain twin, and both without batch norm: from the same kernels, on the same images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, product
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.core.files import read_arrays, write_arrays
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data, Pipeline, augment, normalization
from reslab.evaluation.tasks.classification import TASK
from reslab.models import build
from reslab.runs import papers
from reslab.runs import recipe as recipes
from reslab.runs.recipe import Recipe
from reslab.spec import Network, summary
from reslab.spec.transforms import plain, without_bn
from reslab.studies import units
from reslab.studies.folder import Study
from reslab.studies.signals import norms, showing
from reslab.studies.signals.gradients import passed
from reslab.studies.trained import sample
from reslab.training import checkpoints, prepare, setup
from reslab.training.feed import source

KIND = "signals"
RECIPE = "paper-cifar"
SEEDS, IMAGES = 3, 128
MOST_MOMENTS = 8  # measured on the way, the first and the last included


@on_signals(interrupt)
def signals(
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
    """Measure gradients and activations by layer of a residual net and its three twins.

    At initialisation with each of the seeds, on one batch of training images; with `steps` also
    over the first so many steps of the recipe, at moments spread evenly in their logarithm. The
    study goes to `out`, else to studies/signals-NETWORK-DATA; it is gone on with where it is there.
    Raises UserError for whatever does not fit, `session.Interrupted` after a signal.
    """
    watch = watch or Watch()
    net, chosen = zoo.network(network), papers.recipe(recipe)
    _check(net, chosen, seeds, images, steps)
    if not isinstance(data, Data):
        data = prepare.load_data(data, net, chosen, None)
    net = prepare.fit_network(net, data)
    summary.counts(net)  # says at once where the images are too small for the network
    chosen, _ = prepare.fit_recipe(chosen, data)
    if steps > (total := _total(chosen, data)):
        raise UserError(f"--steps {steps}: recipe {chosen.name} has {total:,} on {data.name}")
    asked = {
        "network": net.name,
        "data": data.source,
        "checksum": data.checksum,
        "recipe": recipes.to_json(chosen),
        "seeds": seeds,
        "images": images,
        "steps": steps,
    }
    out = out or Path("studies") / _name(net, data, asked)
    backend = keras.backend.backend()
    study = Study.begin(out, KIND, {**asked, "backend": backend}, backend)
    watch.say(f"study: {study.path}")
    _Twins(study, data, chosen, watch).measure(net, seeds, images, steps)
    return showing.finished(study)


def _check(net: Network, recipe: Recipe, seeds: int, images: int, steps: int) -> None:
    if not any(unit.residual for unit in units.units(net)):
        raise UserError(f"{net.name} has no residual units, so no plain twin: name a residual net")
    for name, value, least in (("seeds", seeds, 1), ("images", images, 2), ("steps", steps, 0)):
        if value < least:
            raise UserError(f"--{name} {value}: at least {least}")
    augment.by_stage(recipe.augment)  # what cannot be is answered before there is a folder
    if steps and recipe.schedule == "plateau":
        raise UserError(f"recipe {recipe.name} watches validation images: choose another --recipe")


def _total(recipe: Recipe, data: Data) -> int:
    return recipe.total_steps(len(data.train) // recipe.batch)


def _name(net: Network, data: Data, asked: Mapping[str, Any]) -> str:
    """What was asked beyond the usual is in the name."""
    words = [KIND, net.name, data.name]
    words += [asked["recipe"]["name"]] if asked["recipe"]["name"] != RECIPE else []
    words += [f"{asked['steps']}steps"] if asked["steps"] else []
    words += [f"{asked['seeds']}seeds"] if asked["seeds"] != SEEDS else []
    words += [f"{asked['images']}images"] if asked["images"] != IMAGES else []
    return "-".join(words)


@dataclass(frozen=True)
class Twin:
    network: Network
    kind: str  # "residual", "plain"
    bn: bool

    @property
    def label(self) -> str:
        return f"{self.kind}, {'with' if self.bn else 'without'} BN"


def twins(net: Network) -> list[Twin]:
    """Those of the four that differ."""
    pair = [Twin(net, "residual", True), Twin(plain(net), "plain", True)]
    bare = [replace(twin, network=without_bn(twin.network), bn=False) for twin in pair]
    return pair + [b for a, b in zip(pair, bare, strict=True) if a.network.rows != b.network.rows]


def started(twin: Network, net: Network, seed: int) -> keras.Model:
    """The twin with the kernels that `net` begins with.

    Each is drawn from one sequence in the order of the layers: with a projection more, all behind
    it would be others.
    """
    keras.utils.set_random_seed(seed)
    model = build.create(net)
    if twin is net:
        return model
    theirs, other = _kernels(net, model), build.create(twin)
    for which, kernel in _kernels(twin, other).items():
        kernel.assign(theirs[which])
    return other


def _kernels(net: Network, model: keras.Model) -> dict[tuple[bool, int], Any]:
    """The kernels by what twins have in common: on a shortcut or not, and which one of these."""
    found: dict[tuple[bool, int], Any] = {}
    for shortcut in (False, True):
        places_there = [place for place in units.kernels(net) if place.shortcut is shortcut]
        for number, place in enumerate(places_there):
            found[shortcut, number] = model.get_layer(place.path).kernel
    return found


def moments(steps: int, most: int = MOST_MOMENTS) -> list[int]:
    """0, and steps spread evenly in their logarithm, the last one last."""
    if not steps:
        return [0]
    spread = {round(steps ** (i / (most - 2))) for i in range(most - 1)}
    return [0, *sorted(spread)]


class _Twins:
    """Measures what is not in the study yet."""

    def __init__(self, study: Study, data: Data, recipe: Recipe, watch: Watch) -> None:
        self.study, self.data, self.recipe, self.watch = study, data, recipe, watch
        self.standard = normalization(data.train, recipe.standardise)
        self.kept = study.path / "training.safetensors"  # where an interrupted training stands
        self.done = 0

    def measure(self, net: Network, seeds: int, images: int, steps: int) -> None:
        found = self.study.read("signals.json") or {"unit": "step", "nets": []}
        self.found = found
        when, four = moments(steps), twins(net)
        self.watch.start(len(four) * seeds * (steps + len(when)))
        each = steps + len(when)
        for number, (seed, twin) in enumerate(product(range(seeds), four)):
            self.done = number * each
            entry = self._entry(twin, seed)
            measured = {moment["at"] for moment in entry["moments"]}
            if entry["stopped"] is None and when[-1] not in measured:
                left = [step for step in when if step not in measured]
                self._one(twin, started(twin.network, net, seed), entry, images, left)
                self.watch.say(told(entry))
            self.watch.step(self.done + each, twin.label)
        self.kept.unlink(missing_ok=True)

    def _one(
        self,
        twin: Twin,
        model: keras.Model,
        entry: dict[str, Any],
        images: int,
        when: list[int],
    ) -> None:
        """Measure a net at the moments that are left, from where it was interrupted."""
        seed, name = entry["seed"], f"{twin.label}, seed {entry['seed']}"
        names = [place["path"] for place in entry["layers"]]
        batch = sample(self.data, self.standard, model, images, "train")
        entry["said"] = batch.said
        trainer = _Trainer(model, twin.network, self.data, self.recipe, self.standard, seed)
        try:
            trainer.restore(self.kept, name, when[0])
        except UserError as error:
            self.watch.say(f"{error}; {name} is trained from its beginning")
        for step in when:
            entry["stopped"] = trainer.to(
                step, lambda n: self.watch.step(self.done + n, f"{name}, step {n}")
            )
            if entry["stopped"] is None:
                seen = norms.levels(passed(model, names, batch.x, batch.labels))
                entry["moments"].append({"at": step, **seen})
                if when[-1]:
                    trainer.save(self.kept, name)
            self.study.write("signals.json", self.found)
            if entry["stopped"]:
                break

    def _entry(self, twin: Twin, seed: int) -> dict[str, Any]:
        """What is there of a net, or its beginning."""
        for entry in self.found["nets"]:
            if entry["label"] == twin.label and entry["seed"] == seed:
                return entry
        entry = {
            "name": twin.network.name,
            "label": twin.label,
            "kind": twin.kind,
            "bn": twin.bn,
            "seed": seed,
            "layers": [place.as_json() for place in units.kernels(twin.network)],
            "moments": [],
            "stopped": None,
        }
        self.found["nets"].append(entry)
        return entry


def told(entry: Mapping[str, Any]) -> str:
    """One line of a net: its gradient norms at the last moment."""
    head = f"{entry['label']}, seed {entry['seed']}, step {entry['moments'][-1]['at']}"
    return f"{head}: {norms.ends(entry)}" + (
        f"; {entry['stopped']['why']}" if entry["stopped"] else ""
    )


class _Trainer:
    """The first steps of a recipe, as `training.loop` takes them; it can stop after any step."""

    def __init__(
        self,
        model: keras.Model,
        net: Network,
        data: Data,
        recipe: Recipe,
        standard: Any,
        seed: int,
    ) -> None:
        self.model, self.step = model, 0
        self.pipeline = Pipeline(
            data.train,
            batch=recipe.batch,
            seed=seed,
            augment=recipe.augment,
            normalise=standard,
        )
        self.targets = TASK.targets(data, balance=False)
        self.source = source(self.pipeline, model.input_shape)
        total = recipe.total_steps(self.pipeline.steps_per_epoch)
        setup.compile_model(model, recipe, TASK, setup.step_rates(recipe, net, total))

    def to(self, step: int, tell: Any) -> dict[str, Any] | None:
        """Train up to a step; where the loss stops being a number, say so and stop."""
        if step == self.step:
            return None
        for x, y in self._batches(self.step):
            made = self.model.train_on_batch(x, self.targets(y)[0])
            loss = float(np.ravel(made)[0])
            self.step += 1
            tell(self.step)
            if not math.isfinite(loss):
                return {"step": self.step, "why": f"the loss was {loss} at step {self.step}"}
            if self.step == step:
                break
        return None

    def _batches(self, start: int) -> Iterator[tuple[Any, np.ndarray]]:
        each = self.pipeline.steps_per_epoch
        for epoch in count(start // each):
            yield from self.source(epoch, start % each if epoch == start // each else 0)

    def save(self, path: Path, name: str) -> None:
        variables = checkpoints.state(self.model)
        arrays = {k: np.asarray(keras.ops.convert_to_numpy(v)) for k, v in variables.items()}
        write_arrays(path, arrays, {"name": name, "step": self.step})

    def restore(self, path: Path, name: str, first: int) -> None:
        """Go on from what was saved of this net, else from its beginning; so too where it is past
        the first step that is asked for, which was lost with signals.json."""
        if not path.exists():
            return
        arrays, meta = read_arrays(path)
        if meta["name"] == name and meta["step"] <= first:
            for key, variable in checkpoints.state(self.model).items():
                variable.assign(arrays[key])
            self.step = meta["step"]
