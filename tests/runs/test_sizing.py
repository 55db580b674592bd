from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reslab
from reslab.runs import papers, sizing
from reslab.runs.options import TrainingOptions
from tests.helpers import tiny
from tests.helpers.cli import output_of

SIZED = st.sampled_from(sorted(sizing.RULES))


@settings(max_examples=200, deadline=None)
@given(name=SIZED, images=st.integers(1, 60_000))
def test_every_number_of_images_gets_enough_steps_of_a_fitting_rate(name, images):
    base, recipe = papers.RECIPES[name], papers.recipe(name, images=images)
    if images >= sizing.LARGE:
        assert recipe == base
        return
    assert 1 <= recipe.batch <= min(base.batch, max(images, 1))
    steps = recipe.total_steps(max(1, images // recipe.batch))
    assert steps >= sizing.RULES[name].steps
    assert recipe.epochs >= base.epochs
    assert recipe.rate == pytest.approx(base.rate * recipe.batch / base.batch, rel=0.06)
    unchanged = {"batch", "rate", "epochs"}
    assert all(
        getattr(recipe, field) == getattr(base, field)
        for field in vars(base)
        if field not in unchanged
    )


@pytest.mark.parametrize("name", sorted(set(papers.RECIPES) - set(sizing.RULES)))
def test_the_recipes_of_papers_stay_as_they_are(name):
    assert papers.recipe(name, images=100) == papers.RECIPES[name]


@pytest.mark.parametrize("images", [60, 500, 3000, 15_000, 50_000])
def test_fields_given_by_hand_win(images):
    options = TrainingOptions(batch=24, changes={"rate": "0.07"}, epochs=7)
    recipe = options.resolve_recipe(images)
    assert (recipe.batch, recipe.rate, recipe.epochs) == (24, 0.07, 7)


def test_the_others_follow_from_a_given_batch_or_length():
    by_rule = papers.recipe("quick", images=126)
    assert (by_rule.batch, by_rule.rate, by_rule.epochs) == (16, 0.05, 43)
    larger = TrainingOptions(batch=64).resolve_recipe(126)
    assert (larger.batch, larger.rate, larger.epochs) == (64, 0.2, 300)  # one step each
    short = TrainingOptions(epochs=10).resolve_recipe(126)
    assert (short.batch, short.rate, short.epochs) == (16, 0.024, 10)
    steps = TrainingOptions(changes={"steps": 300}).resolve_recipe(126)
    assert (steps.rate, steps.steps, steps.epochs) == (0.05, 300, 0)


def test_a_recipe_that_is_a_value_is_not_changed():
    options = TrainingOptions(recipe=papers.RECIPES["quick"])
    assert options.resolve_recipe(100) == papers.RECIPES["quick"]


def test_a_file_with_a_base_takes_its_fitted_fields(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('base = "quick"\nbatch = 32\nlabel_smoothing = 0.1\n')
    recipe = TrainingOptions(recipe=file).resolve_recipe(320)
    assert (recipe.name, recipe.batch, recipe.label_smoothing) == ("mine", 32, 0.1)
    assert recipe.rate == 0.1  # 0.4 * 32 / 128
    assert recipe.total_steps(10) >= 300


@pytest.mark.core
def test_a_small_folder_is_trained_by_the_rule(tmp_path):
    source = tiny.folder(tmp_path / "tiny", train=60)
    run = reslab.train(tiny.NETWORK, source, out=tmp_path / "run")
    recipe, counts = run.info["recipe"], run.info["data"]["counts"]
    assert recipe["batch"] == 16
    assert recipe["epochs"] == math.ceil(300 / (counts["train"] // 16))
    assert run.evaluation["top1_error"]["high"] < 0.5  # guessing has 0.67
    text = output_of("train", "--resume", run.path)
    assert "finished already" in text
