"""K-fold cross-validation: each training image validates once; the test set is read at the end.

    folds.json           network, data and options as they were given, and the folds
    NETWORK-fold1/ ...   ordinary runs, whose images of fold 1 (2, ...) validate
    evaluation.json      the test error of the averaged ensemble of all runs
    suspects.json        labels that are likely wrong, if cleanlab is installed
    report.html          all runs side by side, with the mean and spread of their validation errors

No run reads the test set: the ensemble reads it, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reslab.core import records
from reslab.core.errors import UserError
from reslab.core.files import FOLDS_FILE, write_json
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data
from reslab.data.folds import fold
from reslab.evaluation import cross_validation
from reslab.evaluation.tasks.registry import task_of
from reslab.report import folds as report
from reslab.report import page
from reslab.runs.evaluation_records import EVALUATIONS, Evaluation, LikelyLabels
from reslab.runs.options import TrainingOptions
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import Network
from reslab.training.several import Several

EVALUATION, SUSPECTS = "evaluation.json", "suspects.json"


@dataclass(frozen=True)
class FoldRuns:
    """The finished runs of `train_folds`.

    Attributes:
        path: Their folder.
        runs: The runs, by fold.
        evaluation: The evaluation of the averaged ensemble on the test set, as `reslab.evaluate`
            returns it; None if the data have no test part.
        trained: Whether anything was left to train.
    """

    path: Path
    runs: tuple[Run, ...]
    evaluation: dict[str, Any] | None
    trained: bool = True

    @property
    def sentences(self) -> list[str]:
        """The validation errors over the folds, and the test error of the ensemble."""
        return report.sentences(self.runs, self.evaluation)


def train_folds(
    network: str | Network,
    data: str | Path | Data,
    recipe: str | Path | Recipe | None = None,
    *,
    folds: int = 5,
    watch: Watch | None = None,
    **options: Any,
) -> FoldRuns:
    """Train a network once for each fold, and evaluate the averaged ensemble on the test set.

    The training and validation images are divided into folds. Each run validates on one fold, and
    trains on the others. A call that was interrupted is continued by `resume_folds`.

    Args:
        network: As in `reslab.train`.
        data: As in `reslab.train`.
        recipe: As in `reslab.train`.
        folds: The number of folds, two or more.
        watch: Gets the progress of all runs together; see `reslab.core.progress.Watch`.
        options: The other options of `reslab.train`, without callbacks. `out` is the folder of all
            runs, by default runs/NETWORK-DATA-RECIPE-5folds-N.

    Returns:
        The runs and the evaluation of their ensemble.

    Raises:
        UserError: An argument does not fit, a class has fewer images than there are folds, or a
            run has failed.
        Interrupted: SIGINT or SIGTERM stopped a run, which was saved (a `KeyboardInterrupt`).
    """
    return train_folds_with(network, data, TrainingOptions(recipe=recipe, **options), folds, watch)


@on_signals(interrupt)
def train_folds_with(
    network: str | Network,
    data: str | Path | Data,
    options: TrainingOptions,
    folds: int,
    watch: Watch | None = None,
) -> FoldRuns:
    """`train_folds` with the options of a run as one value."""
    if options.validation is not None or "validation" in (options.changes or {}):
        raise UserError("validation has no effect: the folds are the validation images")
    members = list(range(1, folds + 1))
    with Folds.begin(network, data, options, members, watch, seed=options.seed) as several:
        fold(several.all_data(), 1, folds)  # raises if there are too few images
        return several.train()


@on_signals(interrupt)
def resume_folds(
    path: str | Path, *, data: Data | None = None, watch: Watch | None = None
) -> FoldRuns:
    """Continue what `train_folds` began: finished runs stay as they are.

    Args:
        path: The folder of all runs.
        data: The data, if they were made in Python or are loaded already.
        watch: Gets the progress of all runs together.

    Returns:
        The runs, as from `train_folds`.

    Raises:
        UserError: There is no such folder, or its data, weights or backend have changed.
        Interrupted: SIGINT or SIGTERM stopped a run, which was saved (a `KeyboardInterrupt`).
    """
    return Folds(Path(path), data, watch).train()


class Folds(Several):
    """Runs that differ by the images they validate on."""

    noun, file, key = "fold", FOLDS_FILE, "folds"

    def options_of(self, member: int) -> dict[str, Any]:
        return {"seed": self.info["seed"]}

    def data_of(self, member: int, data: Data) -> Data:
        return fold(data, member, len(self.members))

    def train(self) -> FoldRuns:
        """Train what is missing, evaluate the ensemble once, and write the report of all runs."""
        with self.only_writer():
            runs = self.train_all()
            for run in runs:
                if run.info["status"] == "failed":
                    raise UserError(
                        f"{run.path} failed, so there is no ensemble: {run.info['why']}"
                    )
            evaluation = self._evaluation(runs)
            if self.trained or not (self.path / "report.html").exists():
                path = self.path / "report.html"
                block = report.block(runs, evaluation, self._suspects(runs))
                page.write(runs, path, folds=block)
            return FoldRuns(self.path, tuple(runs), evaluation, self.trained)

    def _evaluation(self, runs: list[Run]) -> dict[str, Any] | None:
        """That of the ensemble: the stored one, for the test set is read once."""
        file = self.path / EVALUATION
        task = task_of(runs[0].info)
        if file.exists():
            stored: dict[str, Any] = records.read_json(
                file, EVALUATIONS.get(task.name, Evaluation), "delete it to evaluate again"
            )
            return stored
        keep_seen = bool(self.info["options"].get("keep_seen"))
        evaluation = cross_validation.evaluate_ensemble(runs, self.all_data(), keep_seen)
        if evaluation is not None:
            write_json(file, evaluation)
        return evaluation

    def _suspects(self, runs: list[Run]) -> dict[str, Any] | None:
        """Labels that are likely wrong, of all images that were held out from a training."""
        file = self.path / SUSPECTS
        if file.exists():
            stored: dict[str, Any] = records.read_json(
                file, LikelyLabels, "delete it to look for wrong labels again"
            )
            return stored
        suspects = cross_validation.suspects(runs, self.all_data())
        if suspects is not None:
            write_json(file, suspects)
        return suspects
