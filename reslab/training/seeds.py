"""Several trainings that differ by their seed alone: one folder, one report, mean and deviation.

    seeds.json           network, data and options as they were given, and the seeds
    NETWORK-seed0/ ...   ordinary runs
    report.html          all runs side by side, with their mean and standard deviation

The seed decides the first weights, the order of the images and the augmentation. All runs have the
same split and the same test images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError
from reslab.core.files import SEEDS_FILE
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data
from reslab.report import page
from reslab.report.seeds import SeedGroup, groups, identity
from reslab.runs.options import TrainingOptions
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import Network
from reslab.training.several import Several

MOST_SEEDS = 1000


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
    members = list(range(options.seed, options.seed + seeds))
    with Seeds.begin(network, data, options, members, watch) as several:
        return several.train()


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
    return Seeds(Path(path), data, watch).train()


class Seeds(Several):
    """Runs that differ by their seed alone."""

    noun, file, key = "seed", SEEDS_FILE, "seeds"

    def options_of(self, member: int) -> dict[str, Any]:
        return {"seed": member}

    def train(self) -> SeedRuns:
        """Train what is missing, and write the report of all runs."""
        with self.only_writer():
            runs = self.train_all()
            if len({identity(run) for run in runs}) > 1:
                raise UserError(
                    f"the runs of {self.path} differ by more than their seed, because data, "
                    "weights or reslab have changed since it began: train again in another folder"
                )
            result = SeedRuns(self.path, tuple(runs), self.trained)
            if self.trained or not (self.path / "report.html").exists():
                page.write(runs, self.path / "report.html")
            return result
