"""The learning rates of a run: those that its recipe gives, checked against its log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reslab.core.errors import UserError
from reslab.plots.plotly import finite
from reslab.runs.recipe import recorded
from reslab.spec import Network, summary

MOST_POINTS = 600  # more points than pixels only make the file larger
MOST_STEPS = 2_000_000  # the rates of a longer training would take seconds to compute
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RateCurve:
    """Learning rates by epoch: of every step by the recipe if `exact`, else as they were logged."""

    epochs: Sequence[float] = ()
    values: Sequence[float | None] = ()
    exact: bool = False


def rates(info: Mapping[str, Any], network: Network, epochs: Rows, steps: Rows) -> RateCurve:
    """Return the rates up to the last logged step.

    The log has a row for each epoch, and one for every 50 steps. The recipe fills the gaps if its
    rates equal all logged ones; otherwise, and for "plateau", only the logged rates are returned.
    """
    if any("batch" in each for each in info.get("resumed_with", [])):  # steps of several sizes
        rated = [row for row in [*steps, *epochs] if row.get("rate") is not None]
        rated.sort(key=lambda row: row["epoch"])
        return _thinned([row["epoch"] for row in rated], [row["rate"] for row in rated], False)
    rows = {row["step"]: row for row in [*steps, *epochs] if row.get("rate") is not None}
    logged = [rows[step] for step in sorted(rows)]
    if not logged:
        return RateCurve()
    per_epoch = _steps_per_epoch(info)
    by_step = _by_recipe(info, network, per_epoch) if per_epoch else None
    last = logged[-1]["step"]
    if by_step is None or last > len(by_step) or not all(_agrees(row, by_step) for row in logged):
        return _thinned([row["epoch"] for row in logged], [row["rate"] for row in logged], False)
    at = (np.arange(last) + 1) / per_epoch
    return _thinned(at.tolist(), by_step[:last], True)


def _steps_per_epoch(info: Mapping[str, Any]) -> int:
    """The whole batches in the training images; 0 if the run does not say."""
    images = info.get("data", {}).get("counts", {}).get("train") or 0
    return int(images) // int(info.get("recipe", {}).get("batch") or images + 1)


def _by_recipe(info: Mapping[str, Any], network: Network, per_epoch: int) -> list[float] | None:
    try:
        recipe = recorded(info["recipe"])
        total = recipe.total_steps(per_epoch)
    except UserError:  # a field that this version does not know
        return None
    if recipe.schedule == "plateau" or total > MOST_STEPS:
        return None
    return recipe.rates(total, summary.depth(network))


def _agrees(row: Mapping[str, Any], by_step: Sequence[float]) -> bool:
    """A row has the rate of the step before it."""
    expected = by_step[row["step"] - 1]
    return math.isclose(row["rate"], expected, rel_tol=1e-5, abs_tol=1e-12)


def _thinned(epochs: Sequence[float], values: Sequence[float], exact: bool) -> RateCurve:
    """At most MOST_POINTS points; corners are kept."""
    x, y = np.asarray(epochs, float), np.asarray(values, float)
    kept = np.arange(len(x))
    if len(x) > MOST_POINTS:
        slopes = np.diff(y) / np.maximum(np.diff(x), 1e-12)
        turns = np.abs(np.diff(slopes)) > 1e-6 * np.abs(slopes).max()
        corners = np.flatnonzero(turns) + 1
        if len(corners) > MOST_POINTS // 2:  # a smooth curve has no corners
            corners = corners[:0]
        evenly = np.linspace(0, len(x) - 1, MOST_POINTS - len(corners)).round().astype(int)
        kept = np.union1d(evenly, corners)
    points = [finite(float(f"{v:.6g}")) for v in y[kept]]
    return RateCurve([round(float(v), 4) for v in x[kept]], points, exact)
