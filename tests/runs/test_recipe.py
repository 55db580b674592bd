"""Recipes: the numbers of the papers, and errors for invalid values."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from reslab.core.errors import UserError
from reslab.runs.papers import RECIPES, recipe
from reslab.runs.recipe import Recipe, change, to_json


def test_paper_cifar_is_he_2015() -> None:
    """64k steps of 128 images; the rate drops at 32k and 48k; 110 layers warm up for 400 steps."""
    r = recipe("paper-cifar")
    rates = r.rates(r.total_steps(351), layers=56)
    assert len(rates) == 64_000
    assert rates[0] == rates[31_999] == 0.1
    assert rates[32_000] == rates[47_999] == pytest.approx(0.01)
    assert rates[48_000] == rates[-1] == pytest.approx(0.001)
    warm = r.rates(64_000, layers=110)
    assert warm[399] == 0.01
    assert warm[400] == 0.1
    assert warm[400:] == rates[400:]
    assert (r.batch, r.momentum, r.weight_decay, r.rule) == (128, 0.9, 1e-4, "caffe")


def test_epochs_rescale_a_schedule_in_proportion() -> None:
    r = recipe("paper-cifar").lasting(4)
    rates = r.rates(r.total_steps(100), layers=110)
    assert len(rates) == 400
    assert rates[:3] == [0.01, 0.01, 0.1]  # 400 of 64,000 are 2.5 of 400: rounded to even
    assert rates[199] == 0.1
    assert rates[200] == pytest.approx(0.01)
    assert rates[300] == pytest.approx(0.001)


def test_li2018_drops_the_rate_three_times() -> None:
    r = recipe("li2018")
    rates = r.rates(r.total_steps(10), layers=56)
    drops = [i for i in range(1, 3000) if rates[i] != rates[i - 1]]
    assert drops == [1500, 2250, 2750]
    assert (r.nesterov, r.weight_decay, r.decay, r.rule) == (True, 5e-4, "all", "torch")


def test_one_cycle_rises_to_its_peak_and_falls_to_zero() -> None:
    r = Recipe("r", epochs=1, schedule="one-cycle", rate=1.0, peak=0.25)
    rates = r.rates(100)
    assert max(rates) == rates[25] == 1.0
    assert rates == sorted(rates[:26]) + sorted(rates[26:], reverse=True)
    assert rates[0] == pytest.approx(0.04)
    assert rates[-1] == pytest.approx(1 / 75)


def test_cosine_and_constant() -> None:
    assert Recipe("r", epochs=1, schedule="constant", rate=0.5).rates(3) == [0.5] * 3
    half = Recipe("r", epochs=1, schedule="cosine", rate=1.0).rates(100)[50]
    assert half == pytest.approx(0.5)


def test_plateau_divides_the_rate_after_epochs_without_improvement() -> None:
    r = Recipe("r", epochs=9, schedule="plateau", rate=1.0, patience=2)
    assert r.plateau_rate([]) == 1
    assert r.plateau_rate([0.5, 0.4, 0.4]) == 1
    assert r.plateau_rate([0.5, 0.4, 0.4, 0.4]) == pytest.approx(0.1)
    assert r.plateau_rate([0.5, 0.4, 0.4, 0.4, 0.3, 0.3, 0.3]) == pytest.approx(0.01)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_states_its_promise_and_its_source(name: str) -> None:
    r = recipe(name)
    assert r.promise
    assert r.source
    assert change(Recipe("x", epochs=1), to_json(r)) == r
    if r.schedule != "plateau":
        assert all(math.isfinite(x) and x >= 0 for x in r.rates(1000, 110))


def test_change_parses_text() -> None:
    r = change(
        recipe("quick"),
        {"rate": "0.05", "nesterov": "no", "augment": "flip, scale-crop(1,2)", "drops": "0.5,0.75"},
    )
    assert (r.rate, r.nesterov, r.augment) == (0.05, False, ("flip", "scale-crop(1,2)"))
    assert r.drops == (0.5, 0.75)
    assert change(r, {"steps": "10"}).epochs == 0
    assert change(recipe("paper-cifar"), {"epochs": 2}).steps == 0


BAD_NAMES = "", ".hidden", "..", "a/b", "a\\b", "a\0b"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"rat": 1}, "did you mean 'rate'"),
        ({"rate": "fast"}, "rate='fast': the recipe wants float"),
        ({"rate": "nan"}, "rate is nan"),
        ({"rate": -1}, "rate is -1"),
        ({"batch": "1.5"}, "the recipe wants int"),
        ({"batch": 0}, "batch is 0"),
        ({"epochs": 0}, "either epochs or steps"),
        ({"epochs": 1, "steps": 1}, "either epochs or steps"),
        ({"nesterov": "maybe"}, "the recipe wants bool"),
        ({"schedule": "one_cycle"}, "did you mean 'one-cycle'"),
        ({"rule": "caff"}, "did you mean 'caffe'"),
        ({"momentum": 1}, "fraction below 1"),
        ({"drops": "a,b"}, "drops=.*the recipe wants"),
        ({"warmup_rate": "nan"}, "warmup_rate is nan"),
        ({"warmup_rate": -1}, "warmup_rate is -1"),
        ({"warmup_layers": -1}, "warmup_layers is -1"),
        ({"patience": 0}, "patience is 0, must be 1 or more"),
        ({"label_smoothing": "nan"}, "label_smoothing is a fraction below 1"),
        ({"label_smoothing": "inf"}, "label_smoothing is a fraction below 1"),
        *(({"name": name}, "cannot be part of a folder's name") for name in BAD_NAMES),
    ],
)
def test_invalid_values_are_refused(values: dict, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        change(recipe("quick"), values)


def test_recipe_files(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "paper-cifar"\nepochs = 30\naugment = ["flip"]\n')
    r = recipe(str(mine))
    assert (r.name, r.epochs, r.steps, r.augment) == ("mine", 30, 0, ("flip",))
    assert r.drops == (0.5, 0.75)
    mine.write_text("epochs = 2\nrate = 0.5\n")
    assert recipe(mine).rate == 0.5
    mine.write_text("epochs = = 2")
    with pytest.raises(UserError, match="is not TOML"):
        recipe(mine)
    mine.write_text("epoch = 2")
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        recipe(mine)
    with pytest.raises(UserError, match="cannot read recipe"):
        recipe("nowhere.toml")
    with pytest.raises(UserError, match="did you mean 'quick'"):
        recipe("quik")
    other = tmp_path / "other.toml"
    mine.write_text(f'base = "{other.as_posix()}"')
    other.write_text(f'base = "{mine.as_posix()}"')
    with pytest.raises(UserError, match=r"mine\.toml has itself as its base"):
        recipe(mine)
    with pytest.raises(UserError, match=r"a recipe is a name or a \.toml file, not 3"):
        recipe(3)  # type: ignore[arg-type]
