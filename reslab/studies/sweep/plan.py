"""What a study trains: decided once, from measured speeds, and stored in study.json."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from reslab.core import environment
from reslab.core.errors import UserError
from reslab.core.progress import Watch
from reslab.data import Data
from reslab.runs.recipe import Recipe
from reslab.spec import summary
from reslab.studies.sweep import budget
from reslab.studies.sweep.budget import Cost, Limits, Size
from reslab.studies.sweep.nets import Case
from reslab.studies.sweep.settings import Terms
from reslab.training import prepare
from reslab.training.train import train

WARM = 3  # steps before the timing: they compile
TIMED = (3, 30)  # smallest and largest number of timed steps ...
ENOUGH = 3.0  # ... until this many seconds have passed
Cases = Callable[[float], Sequence[Case]]  # of a width
ADVICE = "give a larger --budget, or fewer networks or seeds, or set --epochs and --images"


def plan(cases: Cases, terms: Terms, recipe: Recipe, data: Data, watch: Watch) -> dict[str, Any]:
    """What is trained, and why: the entry "plan" of study.json.

    Raises UserError if the smallest plan does not fit into the budget: before anything is measured
    if no machine with these cores could do it, after the cheapest network if its speed says so.
    """
    full = terms.images or len(data.train)
    widths = budget.WIDTHS if terms.width is None else (terms.width,)
    if terms.budget is None:
        width = widths[0]
        sizes = {"epochs": terms.epochs, "images": full, "width": width, "seconds": None}
        lines = [f"{_length(recipe, terms.epochs)} of {full:,} training images, width {width:g}"]
        return {**sizes, "said": lines, "costs": None}
    assert data.test is not None
    batch = min(recipe.batch, full)
    limits = Limits.of(
        terms.epochs or recipe.epochs or recipe.steps / (full // batch),
        full,
        epochs_fixed=terms.epochs is not None,
        images_fixed=terms.images is not None,
    )
    return _Budget(terms.budget, cases, widths, terms.seeds, limits, recipe, data, watch).plan()


@dataclass
class _Budget:
    """The choice of sizes that fit into a number of minutes. The measurements count as well."""

    minutes: float
    cases: Cases
    widths: Sequence[float]
    seeds: int
    limits: Limits
    recipe: Recipe
    data: Data
    watch: Watch

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.costs: dict[tuple[str, float], Cost] = {}

    def plan(self) -> dict[str, Any]:
        self._refuse_impossible()
        self._refuse_too_slow()
        batch = min(self.recipe.batch, self.limits.images[1])
        for width in self.widths:
            costs = {case.name: self._cost(case, width) for case in self.cases(width)}
            left = self._allowed() - (time.monotonic() - self.began)
            size = budget.choose(left, costs, self.limits, self._test(), self.seeds, batch)
            if size is not None:
                expected = budget.seconds(costs, size, self._test(), self.seeds)
                lines = budget.described(
                    self.minutes, size, width, expected, costs, self.limits, self.seeds
                )
                chosen = {**asdict(size), "width": width, "seconds": expected}
                return {**chosen, "said": lines, "costs": {k: asdict(v) for k, v in costs.items()}}
        spent = time.monotonic() - self.began
        needed = spent + budget.seconds(costs, self._least(), self._test(), self.seeds)
        raise UserError(f"{self._smallest()}, takes about {_minutes(needed)} here: {ADVICE}")

    def _refuse_impossible(self) -> None:
        """Say what the smallest plan is, and refuse it where arithmetic alone takes too long."""
        nets = [prepare.fit_network(case.network, self.data) for case in self._narrowest()]
        multiply_adds = [summary.counts(net).multiply_adds or 0 for net in nets]
        least, batch = self._least(), min(self.recipe.batch, self._least().images)
        machine = environment.machine(keras.backend.backend())
        cores = None if machine["gpu"] else machine["cores"]
        needed = budget.lower_bound(multiply_adds, least, self._test(), self.seeds, batch, cores)
        where = "any GPU" if cores is None else f"any {cores} core{'s' * (cores > 1)}"
        if needed > self._allowed():
            raise UserError(
                f"{self._smallest()}, takes more than {_minutes(needed)} on {where}: {ADVICE}"
            )
        steps = round(len(nets) * self.seeds * least.epochs * (least.images // batch))
        self.watch.say(
            f"{self._smallest()}: {steps:,} steps, more than {_minutes(needed)} on {where}"
        )
        self.watch.say(f"measuring how much fits into {self.minutes:g} minutes ...")

    def _refuse_too_slow(self) -> None:
        """Measure the cheapest network, and refuse if the others cannot fit at its speed."""
        cheapest = min(
            self._narrowest(), key=lambda case: summary.counts(case.network).multiply_adds or 0
        )
        cost = self._cost(cheapest, self.widths[-1])
        costs = {case.name: cost for case in self._narrowest()}  # no other one is cheaper
        needed = budget.seconds(costs, self._least(), self._test(), self.seeds)
        needed += time.monotonic() - self.began
        if needed > self._allowed():
            raise UserError(
                f"{self._smallest()}, takes more than {_minutes(needed)} at the speed of "
                f"{cheapest.name}, its cheapest network: {ADVICE}"
            )

    def _cost(self, case: Case, width: float) -> Cost:
        """The measured cost; each case is measured once at each width."""
        if (case.name, width) not in self.costs:
            self.costs[case.name, width] = cost(case, self.data, self.recipe)
        return self.costs[case.name, width]

    def _narrowest(self) -> Sequence[Case]:
        return self.cases(self.widths[-1])

    def _least(self) -> Size:
        return Size(self.limits.epochs[0], self.limits.images[0])

    def _allowed(self) -> float:
        return 60 * self.minutes * budget.FILLED

    def _test(self) -> int:
        return 0 if self.data.test is None else len(self.data.test)

    def _smallest(self) -> str:
        least, runs = self._least(), self.seeds * len(self._narrowest())
        return (
            f"the smallest plan, {runs} runs of {least.epochs:g} epochs of {least.images:,} images "
            f"at width {self.widths[-1]:g}"
        )


def _minutes(seconds: float) -> str:
    """The budget that these seconds need: whole minutes, rounded up; tenths below one minute."""
    minutes = seconds / budget.FILLED / 60
    if minutes <= 0.9:
        return f"{math.ceil(10 * minutes) / 10:g} minutes"
    return f"{math.ceil(minutes)} minute{'s' * (math.ceil(minutes) > 1)}"


def _length(recipe: Recipe, epochs: float | None) -> str:
    if epochs is None and recipe.steps:
        return f"{recipe.steps:,} steps"
    return f"{epochs or recipe.epochs:g} epochs"


class _Enough(Exception):
    """Enough steps are timed."""


def cost(case: Case, data: Data, recipe: Recipe) -> Cost:
    """The cost of a run of the case, from some steps of a training that is then deleted."""
    times = [time.perf_counter()]

    def step(*_: object) -> None:
        times.append(time.perf_counter())
        timed = len(times) - 1 - WARM
        enough = timed > 0 and times[-1] - times[WARM] > ENOUGH
        if timed >= TIMED[1] or (timed >= TIMED[0] and enough):
            raise _Enough

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        long = recipe.lasting(max(1.0, recipe.batch * 40 / len(data.train)))
        with suppress(_Enough):
            train(case.network, data, long, out=out, watch=Watch(step=step))
    warm = min(WARM, len(times) - 2)
    each = (times[-1] - times[warm]) / (len(times) - 1 - warm)
    batch = min(recipe.batch, len(data.train))
    return Cost(start=max(0.0, times[warm] - times[0] - warm * each), image=each / batch)
