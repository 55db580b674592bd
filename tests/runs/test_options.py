"""Training options: the dataclass, the keyword arguments and the command line agree."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any, get_type_hints

import click
import pytest

import reslab
from reslab.cli.main import cli
from reslab.cli.options import SEVERAL_LABELS, TABLE_COLUMNS
from reslab.cli.train import train as command
from reslab.core.errors import UserError
from reslab.runs.options import RECORDED, TrainingOptions
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run

FIELDS = {field.name: field for field in fields(TrainingOptions)}


def test_keyword_arguments_agree_with_the_dataclass() -> None:
    parameters = dict(inspect.signature(reslab.train).parameters)
    for name in ("network", "data", "callbacks", "watch"):  # not options
        del parameters[name]
    parameters.pop("insecure")  # of the downloads of this call, and not of the training
    assert list(parameters) == list(FIELDS)
    assert {n: p.default for n, p in parameters.items()} == {
        name: field.default for name, field in FIELDS.items()
    }
    types, hints = get_type_hints(reslab.train), get_type_hints(TrainingOptions)
    assert {name: types[name] for name in FIELDS} == hints


def test_the_command_line_agrees_with_the_dataclass() -> None:
    outer = click.Context(cli, **cli.context_settings)  # or click would keep a --help without -h
    defaults = command.make_context("train", [], parent=outer).params
    for name in ("name", "data", "resumed", "backend", "seeds", "folds"):  # not options of one run
        del defaults[name]
    for kind in TABLE_COLUMNS:  # together they are `columns`
        assert defaults.pop(f"{kind}_column") is None
    for what in SEVERAL_LABELS:
        assert defaults.pop(f"label_{what}") is None
    assert defaults.keys() == FIELDS.keys() - {"columns"}
    for repeated in ("changes", "class_weights"):  # --set and --class-weight
        assert defaults.pop(repeated) == ()
    assert defaults == {name: FIELDS[name].default for name in defaults}


def test_run_json_records_the_options(trained: Run) -> None:
    assert set(RECORDED) <= trained.info.keys()
    recorded = TrainingOptions.of_run(trained.info)
    assert (recorded.seed, recorded.precision, recorded.workers) == (0, "float32", 2)
    assert (recorded.stacked, recorded.remat, recorded.weights) == (False, False, None)
    old = {key: value for key, value in trained.info.items() if key not in RECORDED}
    assert TrainingOptions.of_run(old) == TrainingOptions()


def test_the_default_recipe_depends_on_the_weights() -> None:
    assert TrainingOptions().resolve_recipe().name == "quick"
    assert TrainingOptions(weights="a file").resolve_recipe().name == "fine-tune"


def test_changes_batch_and_epochs_change_the_recipe() -> None:
    recipe = Recipe("mine", steps=100)
    options = TrainingOptions(recipe=recipe, changes={"rate": "0.5"}, batch=7, epochs=3)
    resolved = options.resolve_recipe()
    assert (resolved.rate, resolved.batch, resolved.epochs, resolved.steps) == (0.5, 7, 3, 0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"precision": "float23"}, "did you mean 'float32'"),
        ({"seed": -1}, "give a number from 0"),
        ({"freeze_bn": True}, "add --weights SOURCE"),
        ({"freeze_bn": True, "recalibrate_bn": True, "weights": "x"}, "choose one"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        TrainingOptions(**options)
