"""Train and score the runs of a study one after the other; resume an interrupted run."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import keras

from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE, read_arrays
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data, augment, sample
from reslab.evaluation.scoring import score
from reslab.models import build, stacked
from reslab.plots.format import percent
from reslab.runs import recipe as recipes
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import summary
from reslab.studies.folder import Study, default_path
from reslab.studies.sweep import plan as plans
from reslab.studies.sweep import results
from reslab.studies.sweep.nets import Case
from reslab.studies.sweep.plan import Cases
from reslab.studies.sweep.settings import Terms
from reslab.studies.trained import new_model, normalization_of, refuse_several_labels
from reslab.training import prepare
from reslab.training.train import resume, train


@on_signals(interrupt)
def sweep(
    kind: str, cases: Cases, asked: Mapping[str, Any], name: str, terms: Terms, watch: Watch
) -> Study:
    """Start or continue a study, until every case is trained with every seed.

    The study stays "running": the caller writes its pictures and page.

    Args:
        kind: Kind of study.
        cases: The networks, by the factor of their width.
        asked: What identifies this kind of study, besides `terms`.
        name: The beginning of the folder's name.
        terms: Data, recipe and sizes.
        watch: Callbacks for progress.

    Raises:
        UserError: The data or the recipe cannot be used.
        reslab.core.interrupts.Interrupted: A signal stopped the study.
    """
    recipe = terms.full_recipe()
    augment.by_stage(recipe.augment)  # check it before there is a folder
    data = _load(terms, cases(1)[0], recipe)
    out = terms.out or default_path(name, f"{data.name}{terms.suffix()}")
    asked = {**asked, "data": data.source, "checksum": data.checksum[:12], **terms.asked()}
    backend = keras.backend.backend()
    study = Study.begin(out, kind, {**asked, "backend": backend}, backend)
    watch.say(f"study: {study.path}")
    if "plan" not in study.info:
        try:
            study.save(plan=plans.plan(cases, terms, recipe, data, watch))
        except UserError:
            study.unlock()
            shutil.rmtree(study.path)  # it is still empty
            raise
    plan = study.info["plan"]
    for line in plan["said"]:
        watch.say(line)
    data = sample(data, plan["images"])
    recipe = recipe if plan["epochs"] is None else recipe.lasting(plan["epochs"])
    recipe_json = json.loads(json.dumps(recipes.to_json(recipe)))
    if study.info.get("recipe", recipe_json) != recipe_json:
        raise UserError(
            f"recipe {recipe.name} has changed since {study.path} began: choose another --out"
        )
    todo = [(case, seed) for seed in range(terms.seeds) for case in cases(plan["width"])]
    runs = [{"case": case.name, "seed": seed} for case, seed in todo]
    study.save(runs=runs, recipe=recipe_json, data=_described(data))
    _Sweep(study, data, recipe, terms.keep_checkpoints, watch).train(todo)
    return study


def _described(data: Data) -> str:
    return f"{data.name}, {data.facts.get('sample', f'{len(data.train):,} training images')}"


def _load(terms: Terms, case: Case, recipe: Recipe) -> Data:
    data = terms.data
    if not isinstance(data, Data):
        data = prepare.load_data(data, case.network, recipe)
    refuse_several_labels(data)
    if data.test is None:
        raise UserError(f"{data.name} has no test images: choose data with a test set")
    if data.validation is not None:
        raise UserError(f"{data.name} has validation images: load it with validation=0")
    if terms.images is not None:
        sample(data, terms.images)  # raises now if there are too few images per class
    return data


# Training -----------------------------------------------------------------------------------------


class _Sweep:
    """Trains the runs, and scores the test images after each epoch."""

    def __init__(self, study: Study, data: Data, recipe: Recipe, keep: bool, watch: Watch) -> None:
        self.study, self.data, self.recipe = study, data, recipe
        self.keep, self.watch = keep, watch
        self.tests: dict[str, list[dict[str, Any]]] = study.read("test.json") or {}

    def train(self, todo: Sequence[tuple[Case, int]]) -> None:
        batch = min(self.recipe.batch, len(self.data.train))
        steps = self.recipe.total_steps(len(self.data.train) // batch)
        work = [steps * (summary.counts(self._fit(case)).multiply_adds or 1) for case, _ in todo]
        self.watch.start(sum(work))
        for number, (case, seed) in enumerate(todo):
            name = f"{case.name}-seed{seed}"
            done, share = sum(work[:number]), work[number] / steps
            self.watch.say(f"{name} ({number + 1} of {len(todo)})")

            def step(steps: float, text: str, done: float = done, share: float = share) -> None:
                self.watch.step(done + share * steps, f"{name}, {text}")  # noqa: B023

            self._one(self.study.path / "runs" / name, case, seed, step)
            results.write(self.study)
        self.watch.step(sum(work), "done")

    def _fit(self, case: Case) -> Any:
        return prepare.fit_network(case.network, self.data)

    def _one(self, path: Path, case: Case, seed: int, step: Callable[..., None]) -> None:
        """Train one run to its end. A run whose loss is not finite has failed; that is a result."""
        if path.exists() and not (path / RUN_FILE).exists():
            shutil.rmtree(path)  # killed before it had a run.json
        run = Run.open(path) if path.exists() else None
        if run is not None:
            self._score(Scorer(run, self.data))  # checkpoints that an interruption left unscored
        if run is not None and run.info["status"] in ("done", "failed"):
            return
        scorers: list[Scorer] = []

        def epoch(line: Mapping[str, Any]) -> None:
            if not scorers:
                scorers.append(Scorer(Run.open(path), self.data))
            self._score(scorers[0], line)

        watch = Watch(step=step, epoch=epoch)
        try:
            if run is None:
                train(
                    case.network,
                    self.data,
                    self.recipe,
                    out=path,
                    seed=seed,
                    keep_checkpoints=True,
                    watch=watch,
                )
            else:
                resume(path, data=self.data, watch=watch)
        except UserError as error:
            if not path.exists() or Run.open(path).info["status"] != "failed":
                raise
            self.watch.say(f"{path.name} failed: {error}")

    def _score(self, scorer: Scorer, line: Mapping[str, Any] | None = None) -> None:
        """Score the checkpoints that have no score yet, and delete them unless they are kept."""
        name = scorer.run.name
        scores = self.tests.setdefault(name, [])
        for path in sorted(scorer.run.checkpoints.glob("epoch-*.safetensors")):
            number = int(path.stem.removeprefix("epoch-"))
            if number > 0 and number not in {row["epoch"] for row in scores}:
                scores.append({"epoch": number, **scorer(path)})
                self.study.write("test.json", self.tests)
            if not self.keep:
                path.unlink()
        if line is not None:
            train, test = percent(line["train_error"]), percent(scores[-1]["error"])
            text = f"{name}, epoch {line['epoch']}: training error {train}, test error {test}"
            self.watch.say(f"{text}; {line['seconds']:.0f} s")


class Scorer:
    """Scores checkpoints of a run on the test images, with a second model of its network."""

    def __init__(self, run: Run, data: Data) -> None:
        self.run, self.data = run, data

    @cached_property
    def model(self) -> keras.Model:
        return new_model(self.run.network)

    def __call__(self, checkpoint: Path) -> dict[str, Any]:
        arrays, meta = read_arrays(checkpoint)
        variables = build.variables(self.model)
        stacked.assign(variables, {name: arrays[name] for name in variables})
        assert self.data.test is not None
        batch = self.run.info["recipe"]["batch"]
        result = score(self.model, self.data.test, normalization_of(self.run), batch)
        loss = result.loss if math.isfinite(result.loss) else None
        return {"step": meta["step"], "loss": loss, "error": result.error}
