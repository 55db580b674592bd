"""Several trainings of one network in one folder: what seeds and folds have in common.

Runs are trained one after the other. Finished ones stay as they are when the folder is resumed.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict

import keras

from reslab import zoo
from reslab.core import environment, locks, records
from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE, write_json, writing
from reslab.core.interrupts import Interrupted
from reslab.core.progress import Watch
from reslab.core.records import Count
from reslab.data import Data
from reslab.evaluation.recorded_data import reload_from
from reslab.evaluation.tasks.registry import task_of
from reslab.runs import papers
from reslab.runs import recipe as recipes
from reslab.runs.options import TrainingOptions
from reslab.runs.run import Run
from reslab.spec import Network
from reslab.spec.serialize import decode_network, encode_network
from reslab.training import new_folder, plan
from reslab.training import train as training
from reslab.training.checkpoints import LAST
from reslab.training.prepare import prepare

FORMAT = 1
NOT_STORED = "out", "seed"


class SharedData(TypedDict):
    """The data of all runs."""

    checksum: str
    provenance: dict[str, Any]


class SharedInfo(TypedDict):
    """What seeds.json and folds.json hold, beside the numbers of the runs."""

    network: dict[str, Any]
    data: SharedData
    options: dict[str, Any]
    backend: str


class Several(ABC):
    """Trains what is missing. `data` are loaded for the first run that has not begun.

    Attributes:
        noun: What the runs are, such as "seed".
        file: The file that describes the folder.
        key: The entry of that file with the members.
        members: The numbers of the runs: their seeds, or their folds.
    """

    noun: ClassVar[str]
    file: ClassVar[str]
    key: ClassVar[str]

    def __init__(self, path: Path, data: Data | None, watch: Watch | None) -> None:
        self.path, self.data, self.watch = path, data, watch
        described = f"folder of {self.key}"
        self.info = records.read_record(path / self.file, described, FORMAT, SharedInfo)
        records.check_record(path / self.file, self.info.get(self.key), list[Count])
        if keras.backend.backend() != self.info["backend"]:
            backend = self.info["backend"]
            raise UserError(f"{path} was started on {backend}: add --backend {backend}")
        self.network = decode_network(self.info["network"])
        self.members: list[int] = self.info[self.key]
        self.trained = False

    @classmethod
    @contextmanager
    def begin(
        cls,
        network: str | Network,
        data: str | Path | Data,
        options: TrainingOptions,
        members: list[int],
        watch: Watch | None,
        **info: Any,
    ) -> Iterator[Self]:
        """Check everything, and write the folder's file. The folder is removed if no run begins."""
        new_folder.check(options)
        net = zoo.network(network)
        prepared = prepare(net, data, options)
        plan.refuse_without_effect(prepared, data, options)
        path = new_folder.path(prepared, options, f"-{len(members)}{cls.key}")
        loaded = prepared.loaded
        record = {
            "format": FORMAT,
            "command": environment.command(),
            "network": encode_network(net),
            "data": {
                "checksum": loaded.checksum,
                "provenance": loaded.provenance,
                "facts": loaded.facts,
            },
            "options": _stored(options, len(prepared.data.train)),
            cls.key: members,
            "backend": keras.backend.backend(),
            **info,
        }
        with writing(path, "choose another --out"):
            path.mkdir(parents=True)
        with _nothing_without_a_run(path):
            write_json(path / cls.file, record)
            yield cls(path, loaded, watch)

    @abstractmethod
    def options_of(self, member: int) -> dict[str, Any]:
        """The options of a member's run that differ from those of the others."""

    def data_of(self, member: int, data: Data) -> Data:
        """The data of a member's run, from the data of all."""
        return data

    def train_all(self) -> list[Run]:
        """Train every run that is not finished; raises UserError if all have failed."""
        runs = []
        for number, member in enumerate(self.members):
            with self._resumable():
                runs.append(self._one(number, member))
        if all(run.info["status"] == "failed" for run in runs):
            raise UserError(f"all runs of {self.path} have failed: {runs[0].info['why']}")
        return runs

    def only_writer(self) -> Any:
        """Lock the folder while it is written."""
        return locks.only_writer(self.path, "wait for it")

    @contextmanager
    def _resumable(self) -> Iterator[None]:
        """Let an interruption say which folder can be resumed, if a run has begun."""
        try:
            yield
        except Interrupted as stop:
            stop.path = self.path if any(self.path.glob(f"*/{RUN_FILE}")) else None
            raise

    def _one(self, number: int, member: int) -> Run:
        path = self.path / f"{self.network.name}-{self.noun}{member}"
        label = f"{self.noun} {member}"
        run = _begun(path)
        if run is not None and run.info["status"] == "failed":
            return run
        if run is not None and run.info["status"] == "done":
            return training.resume(path)  # writes a missing report
        self.trained = True
        self._say(f"{label} ({number + 1} of {len(self.members)})")
        watch = self._watch(number, label)
        try:
            if run is None:
                run = self._new(path, member, watch)
            else:
                run = training.resume(path, data=self._loaded(member), watch=watch)
        except UserError as error:
            if not (path / RUN_FILE).exists() or Run.open(path).info["status"] != "failed":
                raise
            self._say(f"{label} failed: {error}")
            return Run.open(path)
        if run.evaluation:
            self._say(f"{label}: {task_of(run.info).sentence(run.evaluation)}")
        return run

    def _new(self, path: Path, member: int, watch: Watch | None) -> Run:
        stored = dict(self.info["options"])
        if isinstance(stored.get("recipe"), dict):
            stored["recipe"] = recipes.recorded(stored["recipe"])
        options = TrainingOptions(**stored | self.options_of(member), out=path)
        prepared = prepare(self.network, self._loaded(member), options)
        command = self.info.get("command")
        return training.train_prepared(prepared, options, watch=watch, command=command)

    def _loaded(self, member: int) -> Data:
        return self.data_of(member, self.all_data())

    def all_data(self) -> Data:
        """The data of all runs, loaded once."""
        if self.data is None:
            self.data = reload_from(self.path, self.info["data"])
        return self.data

    def _say(self, text: str) -> None:
        if self.watch is not None:
            self.watch.say(text)

    def _watch(self, number: int, label: str) -> Watch | None:
        """The progress of one run as a part of that of all; None in a notebook without a watch."""
        watch = self.watch
        if watch is None:
            return None
        total = 0.0

        def start(steps: float) -> None:
            nonlocal total
            total = steps
            watch.start(steps * len(self.members))

        def step(done: float, text: str) -> None:
            watch.step(number * total + done, f"{label}, {text}")

        return Watch(say=watch.say, start=start, step=step, epoch=watch.epoch)


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
