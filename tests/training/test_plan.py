"""The line about the steps before a training, its cautions, and fields without effect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.core.progress import Watch
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec.transforms import with_classes
from reslab.training import plan
from tests.helpers import tiny

BASE = Recipe("r", epochs=10, schedule="one-cycle", rate=0.4)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (BASE, "learning rate 0.4 at its highest at step 51, then down to zero"),
        (replace(BASE, peak=0.0), "learning rate 0.4 at its highest, then down to zero"),
        (replace(BASE, schedule="cosine"), "0.4, down to zero along a cosine"),
        (replace(BASE, schedule="constant"), "learning rate 0.4"),
        (replace(BASE, schedule="steps"), "learning rate 0.4"),
        (
            replace(BASE, schedule="steps", drops=(0.5, 0.75)),
            "learning rate 0.4, divided by ten after step 100 and 150",
        ),
        (replace(BASE, schedule="plateau"), "after 5 epochs without a lower error"),
        (
            replace(BASE, schedule="cosine", warmup=0.1),
            "along a cosine; 0.01 in the first 20 steps",
        ),
    ],
)
def test_the_learning_rates_as_text(recipe: Recipe, expected: str) -> None:
    text = plan._rates(recipe, 200, round(recipe.warmup * 200))
    assert text.endswith(expected)
    if recipe.schedule == "one-cycle" and recipe.peak:
        rates = recipe.rates(200)
        assert f"step {1 + int(np.argmax(rates))}," in text


@pytest.mark.parametrize(
    ("recipe", "total", "with_weights", "expected"),
    [
        (BASE, 10, False, "10 steps are too few to train new weights, give at least 50"),
        (BASE, 10, False, "more epochs (--epochs 25) or a smaller batch (--batch 32)"),
        (BASE, 1, True, "1 step are too few to train trained weights"),
        (BASE, 40, True, ""),
        (BASE, 100, False, ""),
        (replace(BASE, peak=0.02), 100, False, "peak of 0.4 at step 3 of 100"),
        (replace(BASE, peak=0.02), 100, False, "rate is the highest rate"),
        (replace(BASE, schedule="cosine", warmup=0.01), 100, False, "the warm-up has 1 step of"),
        (replace(BASE, peak=0.02), 1000, False, ""),
    ],
)
def test_cautions_before_a_training(
    recipe: Recipe, total: int, with_weights: bool, expected: str
) -> None:
    texts = plan._cautions(recipe, total, 2, 128, round(recipe.warmup * total), with_weights)
    assert len(texts) == bool(expected)
    assert expected in "".join(texts)


def test_the_line_is_a_note_and_is_said(thirds: Path, tmp_path: Path) -> None:
    said: list[str] = []
    recipe = replace(BASE, epochs=0.5, batch=16)
    out = tmp_path / "run"
    run = reslab.train(tiny.NETWORK, thirds, recipe, out=out, watch=Watch(say=said.append))
    notes = [line["text"] for line in run.log("note")]
    assert notes[0].startswith("5 steps = 0.5 epochs x 10 steps of 16 images; learning rate 0.4")
    assert notes[1].startswith("caution: 5 steps are too few")
    assert said[1:3] == notes[:2]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"standardise": "unit"}, "has no effect: images are normalised with .*; leave it out"),
        ({"warmup": 0.1, "warmup_layers": 50}, "warmup has no effect: tiny has 7 layers.*layers=7"),
    ],
)
def test_a_field_that_the_weights_or_the_network_make_useless(
    changes: dict[str, Any], expected: str, trained: Run, thirds: Path, tmp_path: Path
) -> None:
    net = with_classes(tiny.NETWORK, 3)
    how: dict[str, Any] = {"changes": changes, "out": tmp_path / "run"}
    with pytest.raises(UserError, match=expected):
        reslab.train(net, thirds, weights=trained.path, **how)
    assert not (tmp_path / "run").exists()


def test_validation_of_data_that_are_loaded(thirds: Path, tmp_path: Path) -> None:
    data = reslab.data.load(thirds)
    with pytest.raises(UserError, match=r"give it to reslab\.data\.load"):
        reslab.train(tiny.NETWORK, data, changes={"validation": 0.5}, out=tmp_path / "run")
