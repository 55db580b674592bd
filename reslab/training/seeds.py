"""Several trainings that differ by their seed alone: one folder, one report, mean and deviation.

    seeds.json           network, data and options as they were given, and the seeds
    NETWORK-seed0/ ...   ordinary runs
    report.html          all runs side by side, with their mean and standard deviation

The seed decides the first weights, the order of the images and the augmentation. All runs have the
same split and the same test images.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import keras

from reslab import zoo
from reslab.core import environment, locks
from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE, SEEDS_FILE, read_record, write_json, writing
from reslab.core.interrupts import Interrupted, interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data
from reslab.evaluation.recorded_data import reload_from
from reslab.evaluation.tasks.registry import task_of
from reslab.report import page
from reslab.report.seeds import SeedGroup, groups, identity
from reslab.runs import papers
from reslab.runs import recipe as recipes
from reslab.runs.options import TrainingOptions
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import Network
from reslab.spec.serialize import decode_network, encode_network
from reslab.training import plan
from reslab.training import train as training
from reslab.training.checkpoints import LAST
from reslab.training.prepare import prepare

FORMAT = 1
FIELDS = {"network": dict, "data": dict, "options": dict, "seeds": list, "backend": str}
MOST_SEEDS = 1000
NOT_STORED = "out", "seed"


@dataclass(frozen=True)
class SeedRuns:
    """The finished runs of `train_seeds`.

    Attributes:
        path: Their folder.
        runs: The runs, by ascending seed. A run whose loss was not finite has the status "failed".
        trained: Whether anything was left to train.
    """

    path: Path
    runs: tuple[Run, ...]
    trained: bool = True

    @property
    def group(self) -> SeedGroup:
        """The seeds and errors of the runs."""
        return groups(self.runs)[0]

    @property
    def sentence(self) -> str:
        """`test error 8.75 ± 0.16 % (mean ± sd, n = 3 seeds)`."""
        return self.group.sentence


def train_seeds(
    network: str | Network,
    data: str | Path | Data,
    recipe: str | Path | Recipe | None = None,
    *,
    seeds: int = 3,
    watch: Watch | None = None,
    **options: Any,
) -> SeedRuns:
    """Train a network with several seeds, one run after the other, and write one report.

    The data are loaded once. A run whose loss is not finite fails, and the others are trained all
    the same. A call that was interrupted is continued by `resume_seeds`.

    Args:
        network: As in `reslab.train`.
        data: As in `reslab.train`.
        recipe: As in `reslab.train`.
        seeds: The number of runs, two or more.
        watch: Gets the progress of all runs together; see `reslab.core.progress.Watch`.
        options: The other options of `reslab.train`, without callbacks. `seed` is the first seed,
            by default 0; the others follow it. `out` is the folder of all runs, by default
            runs/NETWORK-DATA-RECIPE-3seeds-N.

    Returns:
        The runs, with the mean and the standard deviation of their errors.

    Raises:
        UserError: An argument does not fit, or all runs have failed.
        Interrupted: SIGINT or SIGTERM stopped a run, which was saved (a `KeyboardInterrupt`).
    """
    return train_seeds_with(network, data, TrainingOptions(recipe=recipe, **options), seeds, watch)


@on_signals(interrupt)
def train_seeds_with(
    network: str | Network,
    data: str | Path | Data,
    options: TrainingOptions,
    seeds: int,
    watch: Watch | None = None,
) -> SeedRuns:
    """`train_seeds` with the options of a run as one value."""
    if not 2 <= seeds <= MOST_SEEDS:
        raise UserError(f"seeds is {seeds}: give a number from 2 to {MOST_SEEDS}")
    replace(options, seed=options.seed + seeds - 1)  # raises if the last seed is too large
    training.check_out(options)
    net = zoo.network(network)
    prepared = prepare(net, data, options)
    plan.refuse_without_effect(prepared, data, options)
    path = training.run_path(prepared, options, f"-{seeds}seeds")
    info = {
        "format": FORMAT,
        "command": environment.command(),
        "network": encode_network(net),
        "data": {
            "checksum": prepared.loaded.checksum,
            "provenance": prepared.loaded.provenance,
            "facts": prepared.loaded.facts,
        },
        "options": _stored(options, len(prepared.data.train)),
        "seeds": list(range(options.seed, options.seed + seeds)),
        "backend": keras.backend.backend(),
    }
    with writing(path, "choose another --out"):
        path.mkdir(parents=True)
    with _nothing_without_a_run(path):
        write_json(path / SEEDS_FILE, info)
        return _SeedTraining(path, json.loads(json.dumps(info)), prepared.loaded, watch).train()


@on_signals(interrupt)
def resume_seeds(
    path: str | Path, *, data: Data | None = None, watch: Watch | None = None
) -> SeedRuns:
    """Continue what `train_seeds` began: finished runs stay as they are.

    Args:
        path: The folder of all runs.
        data: The data, if they were made in Python or are loaded already.
        watch: Gets the progress of all runs together.

    Returns:
        The runs, as from `train_seeds`.

    Raises:
        UserError: There is no such folder, or its data, weights or backend have changed.
        Interrupted: SIGINT or SIGTERM stopped a run, which was saved (a `KeyboardInterrupt`).
    """
    path = Path(path)
    info = read_record(path / SEEDS_FILE, "folder of seeds", FORMAT, FIELDS)
    if keras.backend.backend() != info["backend"]:
        raise UserError(f"{path} was started on {info['backend']}: add --backend {info['backend']}")
    return _SeedTraining(path, info, data, watch).train()


def _stored(options: TrainingOptions, images: int) -> dict[str, Any]:
    """The options as JSON; a recipe from a file or from Python by its value for so many images."""
    stored = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in NOT_STORED}
    if options.recipe is not None and str(options.recipe) not in papers.RECIPES:
        stored["recipe"] = recipes.to_json(options.resolve_recipe(images))
    if options.weights is not None:
        stored["weights"] = str(options.weights)
    return stored


@contextmanager
def _nothing_without_a_run(path: Path) -> Iterator[None]:
    """Remove the folder if no run has begun."""
    try:
        yield
    except BaseException:
        if not any(path.glob(f"*/{RUN_FILE}")):
            shutil.rmtree(path, ignore_errors=True)
        raise


class _SeedTraining:
    """Trains what is missing. `data` are loaded for the first run that has not begun."""

    def __init__(
        self, path: Path, info: Mapping[str, Any], data: Data | None, watch: Watch | None
    ) -> None:
        self.path, self.info, self.data, self.watch = path, info, data, watch
        self.network = decode_network(info["network"])
        self.seeds: list[int] = info["seeds"]
        self.trained = False

    def train(self) -> SeedRuns:
        with locks.only_writer(self.path, "wait for it"):
            return self._train()

    def _train(self) -> SeedRuns:
        runs = []
        for number, seed in enumerate(self.seeds):
            with self._resumable():
                runs.append(self._one(number, seed))
        if all(run.info["status"] == "failed" for run in runs):
            raise UserError(f"all runs of {self.path} have failed: {runs[0].info['why']}")
        if len({identity(run) for run in runs}) > 1:
            raise UserError(
                f"the runs of {self.path} differ by more than their seed, because data, weights or "
                "reslab have changed since it began: train again in another folder"
            )
        result = SeedRuns(self.path, tuple(runs), self.trained)
        if self.trained or not (self.path / "report.html").exists():
            page.write(runs, self.path / "report.html")
        return result

    @contextmanager
    def _resumable(self) -> Iterator[None]:
        """Let an interruption say which folder can be resumed, if a run has begun."""
        try:
            yield
        except Interrupted as stop:
            stop.path = self.path if any(self.path.glob(f"*/{RUN_FILE}")) else None
            raise

    def _one(self, number: int, seed: int) -> Run:
        path = self.path / f"{self.network.name}-seed{seed}"
        run = _begun(path)
        if run is not None and run.info["status"] == "failed":
            return run
        if run is None or run.info["status"] != "done":
            self.trained = True
            self._say(f"seed {seed} ({number + 1} of {len(self.seeds)})")
        watch = self._watch(number, seed)
        try:
            if run is None:
                return self._done(seed, self._new(path, seed, watch))
            finished = run.info["status"] == "done"
            run = training.resume(path, data=None if finished else self.data, watch=watch)
            return run if finished else self._done(seed, run)
        except UserError as error:
            if not (path / RUN_FILE).exists() or Run.open(path).info["status"] != "failed":
                raise
            self._say(f"seed {seed} failed: {error}")
            return Run.open(path)

    def _new(self, path: Path, seed: int, watch: Watch | None) -> Run:
        options = self._options(path, seed)
        self.data = self._load() if self.data is None else self.data
        prepared = prepare(self.network, self.data, options)
        command = self.info.get("command")
        return training.train_prepared(prepared, options, watch=watch, command=command)

    def _load(self) -> Data:
        return reload_from(self.path, self.info["data"])

    def _options(self, path: Path, seed: int) -> TrainingOptions:
        stored = dict(self.info["options"])
        if isinstance(stored.get("recipe"), dict):
            stored["recipe"] = recipes.change(Recipe("run", epochs=1), stored["recipe"])
        return TrainingOptions(**stored, out=path, seed=seed)

    def _done(self, seed: int, run: Run) -> Run:
        if run.evaluation:
            self._say(f"seed {seed}: {task_of(run.info).sentence(run.evaluation)}")
        return run

    def _say(self, text: str) -> None:
        if self.watch is not None:
            self.watch.say(text)

    def _watch(self, number: int, seed: int) -> Watch | None:
        """The progress of one run as a part of that of all; None in a notebook without a watch."""
        watch = self.watch
        if watch is None:
            return None
        total = 0.0

        def start(steps: float) -> None:
            nonlocal total
            total = steps
            watch.start(steps * len(self.seeds))

        def step(done: float, text: str) -> None:
            watch.step(number * total + done, f"seed {seed}, {text}")

        return Watch(say=watch.say, start=start, step=step, epoch=watch.epoch)


def _begun(path: Path) -> Run | None:
    """The run in a folder; None, with the folder removed, if it has nothing to continue from."""
    if not path.exists():
        return None
    if (path / RUN_FILE).exists():
        run = Run.open(path)
        if run.info["status"] in ("done", "failed") or (run.checkpoints / LAST).exists():
            return run
    shutil.rmtree(path)  # killed before its first checkpoint
    return None
