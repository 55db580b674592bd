"""Fields of recipes: each is described, and one that has no effect is refused."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reslab.core.errors import UserError
from reslab.report.reproduce import training_command
from reslab.runs import recipe as recipes
from reslab.runs.fields import OFF, READ_WITH, UNITS, describe, meanings, set_fields, unread
from reslab.runs.options import TrainingOptions
from reslab.runs.papers import RECIPES, recipe
from reslab.runs.recipe import CHOICES, Recipe
from reslab.studies.sweep.settings import Terms
from reslab.zoo import network
from tests.helpers.cli import error_of, output_of

NAMES = {field.name for field in fields(Recipe)}
OTHER_VALUES: dict[str, tuple[Any, Any]] = {  # of the fields that decide on the learning rates
    "rate": (0.1, 0.2),
    "drops": ((0.5,), (0.25,)),
    "peak": (0.25, 0.5),
    "warmup": (0.1, 0.2),
    "warmup_rate": (0.01, 0.02),
    "warmup_layers": (1, 100),
}


def test_every_field_is_described() -> None:
    assert meanings().keys() == NAMES
    assert all(text and text in _squeezed(Recipe) for text in meanings().values())
    assert UNITS.keys() <= NAMES
    assert READ_WITH.keys() | OFF.keys() <= NAMES
    for conditions in READ_WITH.values():
        for other, values in conditions:
            assert values is None or set(values) <= set(CHOICES[other])


def _squeezed(thing: object) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


@given(
    st.sampled_from(CHOICES["schedule"][:-1]),
    st.sampled_from(sorted(OTHER_VALUES)),
    st.booleans(),
)
def test_a_field_is_unread_exactly_where_it_does_not_change_a_rate(
    schedule: str, name: str, warm: bool
) -> None:
    base = Recipe("r", epochs=1, schedule=schedule, drops=(0.5,), warmup=0.1 if warm else 0.0)
    if name == "warmup":
        base = replace(base, warmup=0.1)
    one, other = (replace(base, **{name: value}) for value in OTHER_VALUES[name])
    assert (one.rates(100, 50) == other.rates(100, 50)) == bool(unread(base, name))


def test_plateau_reads_patience_and_no_warmup() -> None:
    r = Recipe("r", epochs=1, schedule="plateau", warmup=0.1)
    assert not unread(r, "patience")
    assert unread(r, "warmup") == "schedule is plateau"
    assert unread(replace(r, schedule="cosine"), "patience") == "schedule is cosine"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"drops": "0.5"}, r"schedule is one-cycle: it is read with schedule=steps; .*set peak"),
        ({"patience": 3}, "set schedule=plateau too"),
        ({"schedule": "cosine", "peak": 0.02}, "leave peak out .the learning rate itself is the"),
        ({"warmup_rate": 0.1}, "warmup is 0.*with warmup above 0; set warmup too"),
        ({"schedule": "plateau", "warmup": 0.1}, "schedule=steps, schedule=one-cycle, .* or"),
        ({"optimizer": "adadelta", "momentum": 0.8}, "optimizer is adadelta.*leave momentum out"),
        ({"optimizer": "adadelta", "nesterov": True}, "optimizer=sgd too"),
        ({"optimizer": "adadelta", "rule": "caffe"}, "rule has no effect"),
        ({"momentum": 0, "nesterov": True}, "momentum is 0"),
        ({"weight_decay": 0, "decay": "all"}, "weight_decay above 0"),
    ],
)
def test_a_field_without_effect_is_refused(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        set_fields(recipe("quick"), values)
    with pytest.raises(UserError, match=expected):
        TrainingOptions(changes=values).resolve_recipe()
    with pytest.raises(UserError, match=expected):
        Terms("data", recipe="quick", changes=values).full_recipe()


def test_what_is_read_or_off_is_accepted() -> None:
    for values in (
        {"peak": 0.02},
        {"schedule": "steps", "drops": "0.5,0.75"},
        {"drops": ""},
        {"warmup": 0, "warmup_layers": 0},
        {"warmup": 0.1, "warmup_rate": 0.1},
        {"optimizer": "adadelta", "momentum": 0, "nesterov": "no"},
    ):
        assert set_fields(recipe("quick"), values) == recipes.change(recipe("quick"), values)
    for r in RECIPES.values():  # fields that a recipe does not set are not refused
        assert set_fields(r, {"rate": 0.5}).rate == 0.5


def test_a_recipe_file_is_checked_and_a_stored_recipe_is_not(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('base = "quick"\npatience = 3\n')
    with pytest.raises(UserError, match="recipe mine: patience has no effect"):
        recipe(file)
    stored = recipes.to_json(recipe("quick")) | {"patience": 3}
    assert recipes.change(Recipe("run", epochs=1), stored).patience == 3


def test_the_command_that_reproduces_a_run_leaves_such_fields_out() -> None:
    stored = recipes.to_json(recipe("quick")) | {"patience": 3, "rate": 0.2}
    command = training_command(Path("runs/a"), {"recipe": stored, "data": {}}, network("resnet20"))
    assert "--set rate=0.2" in command
    assert "patience" not in command


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"batch": 8, "changes": {"batch": 16}}, "batch"),
        ({"epochs": 8, "changes": {"epochs": 16}}, "epochs"),
        ({"epochs": 8, "changes": {"steps": 16}}, "steps"),
    ],
)
def test_a_field_is_set_once(options: dict[str, Any], name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is set twice, by --.* and by --set {name}"):
        TrainingOptions(**options)


def test_the_length_of_a_study_is_set_once() -> None:
    with pytest.raises(UserError, match="steps is set twice"):
        Terms("data", epochs=3, changes={"steps": 16})


@pytest.mark.usefixtures("apart")
def test_reslab_recipes() -> None:
    every = output_of("recipes")
    assert all(name in every for name in RECIPES)
    assert "reslab recipes NAME" in every
    one = " ".join(output_of("recipes", "quick").split())
    for field in describe(recipe("quick")):
        assert field["field"] in one or field["field"] in ("name", "promise", "source")
    assert "0.4" in one
    assert "fraction of the training" in one
    assert "Not read: schedule is one-cycle." in one
    assert "did you mean 'quick'?" in error_of("recipes", "quik")


def test_reslab_recipes_as_json() -> None:
    rows = json.loads(output_of("recipes", "--json"))
    assert [row["name"] for row in rows] == list(RECIPES)
    one = json.loads(output_of("recipes", "quick", "--json"))
    by_name = {field["field"]: field for field in one["fields"]}
    assert by_name["peak"]["unit"] == "fraction of the training"
    assert by_name["schedule"]["choices"] == list(CHOICES["schedule"])
    assert (by_name["rate"]["value"], by_name["rate"]["default"]) == (0.4, 0.1)
    assert all(field["meaning"] for field in one["fields"])


def test_an_unknown_field_names_the_command_that_lists_them() -> None:
    with pytest.raises(UserError, match=r"did you mean 'rate'.*`reslab recipes quick`"):
        set_fields(recipe("quick"), {"raet": 1})
