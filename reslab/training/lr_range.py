"""The learning-rate range test of Smith (2015, arXiv 1506.01186, section 3.3).

A short training raises the learning rate by the same factor at each step. The loss falls while the
rate is useful, and rises where it is too high.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from reslab import data as datasets
from reslab.core.errors import UserError
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data
from reslab.plots import figure, scales
from reslab.runs.options import TrainingOptions
from reslab.runs.run import Run
from reslab.spec import Network
from reslab.training.prepare import Preparation, prepare
from reslab.training.record import run_info
from reslab.training.setup import Training, set_up

MEMORY = 0.9  # of the exponential moving average that smooths the losses
DIVERGED = 4.0  # the smoothed loss ends the test at so many times its lowest value
LEAST = 20  # steps


@dataclass(frozen=True)
class RangeTest:
    """The losses of a range test.

    Attributes:
        network: The name of the network.
        data: The name of the data.
        rates: The learning rate of each step.
        losses: The loss of each step; the last one may not be finite.
        smoothed: The losses, smoothed by an exponential moving average without its initial bias.
    """

    network: str
    data: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def lowest(self) -> float:
        """The rate with the lowest smoothed loss."""
        return self.rates[int(np.argmin(self.smoothed))]

    @property
    def steepest(self) -> float:
        """The rate, up to the lowest loss, at which the smoothed loss falls fastest.

        The slope is that of straight lines through an eighth of the steps.
        """
        from scipy.signal import savgol_filter

        window = max(3, len(self.smoothed) // 8 | 1)
        slopes = savgol_filter(self.smoothed, window, polyorder=1, deriv=1)
        first, last = window // 2, int(np.argmin(self.smoothed))
        if last <= first:
            return self.rates[last]
        return self.rates[first + int(np.argmin(slopes[first : last + 1]))]

    @property
    def sentence(self) -> str:
        """The rates that the curve shows, in one sentence."""
        return (
            f"the loss falls fastest at rate {self.steepest:.2g} and is lowest at "
            f"{self.lowest:.2g}: choose a highest rate between them"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "data": self.data,
            "steepest": self.steepest,
            "lowest": self.lowest,
            "rates": list(self.rates),
            "losses": [loss if math.isfinite(loss) else None for loss in self.losses],
            "smoothed": list(self.smoothed),
        }

    def draw(self, stem: str | Path) -> tuple[Path, ...]:
        """Write the picture.

        Args:
            stem: The path without an ending.

        Returns:
            STEM.svg and STEM.png.
        """
        from reslab.plots import figure_matplotlib

        return figure_matplotlib.render(self.figure(), Path(stem))

    def figure(self) -> figure.Figure:
        """The losses over the logarithm of the rate, with both rates as vertical lines."""
        x = np.log10(self.rates[: len(self.smoothed)]).tolist()
        shown = [loss if math.isfinite(loss) else None for loss in self.losses[: len(x)]]
        ticks = scales.log_ticks(math.log10(self.rates[0]), math.log10(self.rates[-1]))
        low, high = min(self.smoothed), min(max(self.smoothed), 2 * self.smoothed[0])
        panel = figure.Panel(
            "",
            figure.Axis("learning rate", ticks=[(math.log10(t), f"{t:g}") for t in ticks]),
            figure.Axis("loss", low=low - 0.1 * (high - low), high=high + 0.3 * (high - low)),
            [
                figure.Series("each step", 6, x, shown, shade=0.2, marker="none", width=0.9),
                figure.Series("smoothed", 0, x, self.smoothed, marker="none"),
            ],
            breaks=[math.log10(self.steepest), math.log10(self.lowest)],
        )
        title = f"Learning-rate range test: {self.network} on {self.data}"
        return figure.Figure(title, self.sentence, [[panel]], size=(7.0, 4.0))


def lr_range(
    network: str | Network,
    data: str | Path | Data,
    recipe: Any = None,
    *,
    low: float = 1e-5,
    high: float = 10.0,
    steps: int = 200,
    watch: Watch | None = None,
    **options: Any,
) -> RangeTest:
    """Train for a few steps with a rising learning rate. Nothing is kept but the losses.

    Args:
        network: As in `reslab.train`.
        data: As in `reslab.train`.
        recipe: As in `reslab.train`; its schedule is not used.
        low: The first learning rate.
        high: The last one, if the loss does not diverge before.
        steps: The number of steps, 20 or more.
        watch: Gets the progress; see `reslab.core.progress.Watch`.
        options: Other options of `reslab.train`.

    Returns:
        The rates and losses, and what follows from them.

    Raises:
        UserError: An argument does not fit, or the loss is not finite from the first steps on.
    """
    chosen = TrainingOptions(recipe=recipe, **options)
    return lr_range_with(network, data, chosen, low, high, steps, watch)


@on_signals(interrupt)
def lr_range_with(
    network: str | Network,
    data: str | Path | Data,
    options: TrainingOptions,
    low: float,
    high: float,
    steps: int,
    watch: Watch | None = None,
) -> RangeTest:
    """`lr_range` with the options of a training as one value."""
    if not 0 < low < high < math.inf:
        raise UserError(f"the rates go from {low} to {high}: give two rising numbers above 0")
    if steps < LEAST:
        raise UserError(f"steps is {steps}: give {LEAST} or more")
    prepared = prepare(network, data, options)
    rates = np.geomspace(low, high, steps).tolist()
    with tempfile.TemporaryDirectory() as folder:
        losses = _losses(_training(prepared, options, rates, Path(folder)), rates, watch or Watch())
    smoothed = smooth(losses if math.isfinite(losses[-1]) else losses[:-1])
    if len(smoothed) < 3:
        raise UserError(f"the loss is {losses[-1]} at rate {low}: give a lower --low")
    return RangeTest(
        prepared.network.name,
        prepared.data.name,
        tuple(rates[: len(losses)]),
        tuple(losses),
        tuple(smoothed),
    )


def _training(
    prepared: Preparation, options: TrainingOptions, rates: Sequence[float], folder: Path
) -> Training:
    recipe = replace(prepared.recipe, schedule="constant", epochs=0.0, steps=len(rates), warmup=0.0)
    prepared = replace(prepared, recipe=recipe)
    run = Run.create(folder / "run", {"name": "lr-range", **run_info(prepared, options)})
    start = prepared.start
    given = start and start.normalization(prepared.data.image_shape)
    normalization = given or datasets.normalization(prepared.data.train, recipe.standardise)
    training = set_up(run, prepared.data, normalization, rates=list(rates))
    if start is not None:
        data = prepared.data
        start.fill(training.main_model, run.network, data.classes, data.task)
    return training


def _losses(training: Training, rates: Sequence[float], watch: Watch) -> list[float]:
    """The loss of each step, up to the one at which it diverges."""
    losses: list[float] = []
    lowest, mean = math.inf, Mean()
    watch.start(len(rates))
    for epoch in count():
        for batch in training.batches(epoch, 0, training.steps_per_epoch):
            logs = training.model.train_on_batch(*batch, return_dict=True)
            losses.append(float(logs["loss"]))
            smoothed = mean.add(losses[-1])
            lowest = min(lowest, smoothed)
            rate = rates[len(losses) - 1]
            watch.step(len(losses), f"learning rate {rate:.2g}, loss {losses[-1]:.4f}")
            diverged = len(losses) >= LEAST and smoothed > DIVERGED * lowest
            if len(losses) == len(rates) or diverged or not math.isfinite(losses[-1]):
                return losses
    raise AssertionError


class Mean:
    """The exponential moving average with `MEMORY`, divided by the sum of its weights."""

    def __init__(self) -> None:
        self.sum, self.weights = 0.0, 0.0

    def add(self, value: float) -> float:
        """The average with another value."""
        self.sum = MEMORY * self.sum + (1 - MEMORY) * value
        self.weights = MEMORY * self.weights + 1 - MEMORY
        return self.sum / self.weights


def smooth(losses: Sequence[float]) -> list[float]:
    """The average after each loss, see `Mean`."""
    mean = Mean()
    return [mean.add(loss) for loss in losses]
