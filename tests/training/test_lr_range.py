"""The learning-rate range test: its rates, losses, sentence and picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.training.lr_range import RangeTest, lr_range, smooth
from tests.helpers import tiny
from tests.helpers.cli import error_of, output_of
from tests.helpers.training import RECIPE


@pytest.mark.core
def test_the_loss_falls_and_diverges(thirds: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    result = lr_range(tiny.NETWORK, thirds, RECIPE, low=1e-4, high=1e9, steps=80)
    ratios = np.diff(np.log(result.rates))
    np.testing.assert_allclose(ratios, math.log(1e13) / 79)
    assert len(result.rates) == len(result.losses) < 80  # it stopped when the loss diverged
    assert result.rates[0] < result.steepest <= result.lowest < result.rates[-1]
    assert min(result.smoothed) < 0.9 * result.smoothed[0]
    again = lr_range(tiny.NETWORK, thirds, RECIPE, low=1e-4, high=1e9, steps=80)
    assert again.losses == result.losses
    assert set(tmp_path.iterdir()) == before


def test_it_trains_what_train_trains(thirds: Path, trained: reslab.Run) -> None:
    """Its first loss is that of the first step of a training; weights are taken, too."""
    new = lr_range(tiny.NETWORK, thirds, RECIPE, steps=20, high=1e-3)
    fine = lr_range(tiny.NETWORK, thirds, RECIPE, steps=20, high=1e-3, weights=trained.path)
    assert np.mean(fine.losses) < np.mean(new.losses)
    assert abs(new.losses[0] - math.log(3)) < 0.7


def test_a_known_curve() -> None:
    rates = np.geomspace(1e-4, 10, 200)
    x = np.log10(rates)
    losses = 2 - 1 / (1 + np.exp(-6 * (x + 2))) + np.exp(4 * (x - 0.5))
    test = RangeTest("net", "data", tuple(rates), tuple(losses), tuple(smooth(losses)))
    assert 0.005 < test.steepest < 0.03  # at 0.01, and later by the smoothing
    assert 0.05 < test.lowest < 0.4
    assert f"{test.lowest:.2g}" in test.sentence


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.0}, "give two rising numbers"),
        ({"low": 2.0, "high": 1.0}, "give two rising numbers"),
        ({"high": math.inf}, "give two rising numbers"),
        ({"steps": 3}, "give 20 or more"),
        ({"low": 1e30, "high": 1e36}, "give a lower --low"),
    ],
)
def test_impossible_ranges_are_refused(thirds: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lr_range(tiny.NETWORK, thirds, RECIPE, **options)


@pytest.mark.usefixtures("apart")
def test_the_command(thirds: Path) -> None:
    words = "lr-range", "tiny", "--data", thirds, "--batch", 16, "--steps", 30
    lines = output_of(*words).splitlines()
    assert "choose a highest rate between them" in lines[0]
    assert {path.name for path in Path().glob("lr-range*")} == {
        "lr-range-tiny.svg",
        "lr-range-tiny.png",
    }
    assert not Path("runs").exists()
    data = json.loads(output_of(*words, "--json", "--out", "x"))
    assert len(data["rates"]) == len(data["losses"])
    assert "no network" in error_of("lr-range", "tinny", "--data", thirds)
