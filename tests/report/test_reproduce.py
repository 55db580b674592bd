"""The command or call that a report gives to reproduce a run: it trains the same run."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

import reslab
from reslab.cli import train
from reslab.cli.main import cli
from reslab.report.reproduce import training_command
from reslab.runs import papers
from reslab.runs import recipe as recipes
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec.transforms import with_classes
from reslab.zoo import network
from tests.helpers import tiny

INFO: dict[str, Any] = {
    "command": None,
    "seed": 7,
    "precision": "mixed",
    "balance": True,
    "class_weights": {"a b": 5, "c": 0.5},
    "keep_checkpoints": False,
    "freeze_bn": True,
    "weights": {"source": "a file.safetensors"},
    "data": {"provenance": {"source": "my photos", "size": 48, "skip_bad": True}},
}
NET = replace(with_classes(network("resnet20"), 3), input_shape=(48, 48, 3))


def info(recipe: Recipe) -> dict[str, Any]:
    return {**INFO, "recipe": recipes.to_json(recipe)}


def test_the_original_command_is_kept() -> None:
    given = {**info(papers.RECIPES["quick"]), "command": "reslab train x"}
    assert training_command(Path("runs/a"), given, NET) == "reslab train x"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epochs": 3},
        {"steps": 100, "rate": 0.02, "nesterov": False},
        {"augment": ("pad-crop(4)", "flip"), "drops": (0.5, 0.75), "schedule": "steps"},
        {"augment": ()},
    ],
)
def test_the_command_has_the_same_settings(changes: dict[str, Any]) -> None:
    recipe = recipes.change(papers.RECIPES["quick"], changes)
    command = shlex.split(training_command(Path("runs/a"), info(recipe), NET))
    assert command[:3] == ["reslab", "train", "resnet20"]
    outer = click.Context(cli, **cli.context_settings)  # or click would keep a --help without -h
    context = train.train.make_context("train", command[2:], parent=outer)
    said = context.params
    assert isinstance(context, click.Context)
    assert (said["data"], said["size"], said["seed"]) == ("my photos", 48, 7)
    assert (said["precision"], said["balance"], said["skip_bad"]) == ("mixed", True, True)
    assert (said["weights"], said["freeze_bn"]) == ("a file.safetensors", True)
    assert said["recalibrate_bn"] is False
    assert said["class_weights"] == ("a b=5", "c=0.5")
    set_ = dict(change.split("=", 1) for change in said["changes"])
    assert recipes.change(papers.recipe(said["recipe"]), set_) == recipe


def test_a_run_trained_from_python_is_reproduced_by_its_call(thirds: Path, tmp_path: Path) -> None:
    recipe = Recipe("own", epochs=0.5, batch=16, rate=0.1)
    run = reslab.train(tiny.NETWORK, thirds, recipe, out=tmp_path / "one", seed=3)
    call = training_command(run.path, run.info, run.network)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "reslab.train(Run.open(" in page
    made = eval(  # the same call with another folder
        call.removesuffix(")") + f", out={str(tmp_path / 'two')!r})",
        {"reslab": reslab, "Run": Run, "Recipe": Recipe},
    )
    assert made.info["data"]["checksum"] == run.info["data"]["checksum"]
    last = "checkpoints/last.safetensors"
    assert made.info["recipe"] == run.info["recipe"]
    assert len((made.path / last).read_bytes()) == len((run.path / last).read_bytes())
    assert made.log("epoch")[0]["val_loss"] == run.log("epoch")[0]["val_loss"]
