"""Early stopping: the recipe field `stop_after`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import reslab
from reslab.core.errors import UserError
from reslab.core.progress import Watch
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from tests.helpers import tiny
from tests.helpers.training import same_bits

# The rate is too small to learn anything, so the validation error soon stops falling.
RECIPE = Recipe(
    "still", epochs=40, batch=30, rate=1e-9, schedule="constant", validation=60, stop_after=3
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny.folder(tmp_path / "data")


def epochs_without_improvement(run: Run) -> list[int]:
    """For each epoch of the log: how many epochs ago the best validation result was."""
    ranks = [(line["val_error"], line["val_loss"]) for line in run.log("epoch")]
    return [n - min(range(n + 1), key=ranks.__getitem__) for n in range(len(ranks))]


def test_the_training_ends_after_epochs_without_improvement(source: Path, tmp_path: Path) -> None:
    run = reslab.train(tiny.NETWORK, source, RECIPE, out=tmp_path / "run")
    waited = epochs_without_improvement(run)
    assert len(waited) < 40
    assert waited[-1] == 3
    assert max(waited[:-1]) < 3
    assert (run.info["status"], run.info["stopped_early"]) == ("done", len(waited))
    assert run.info["chosen_epoch"] == len(waited) - 3
    text = f"3 epochs without a better validation result than epoch {len(waited) - 3}"
    assert text in run.log("note")[-1]["text"]
    assert text in (run.path / "report.html").read_text(encoding="utf-8")
    longer = reslab.train(
        tiny.NETWORK, source, replace(RECIPE, stop_after=0, epochs=6), out=tmp_path / "longer"
    )
    assert len(longer.log("epoch")) == 6
    assert "stopped_early" not in longer.info


@pytest.mark.core
def test_a_resumed_run_stops_at_the_same_epoch(source: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(line: dict[str, Any]) -> None:
        raise Killed

    one = reslab.train(tiny.NETWORK, source, RECIPE, out=tmp_path / "one")
    with pytest.raises(Killed):
        reslab.train(tiny.NETWORK, source, RECIPE, out=tmp_path / "two", watch=Watch(epoch=kill))
    same_bits(one, reslab.resume(tmp_path / "two"))
    assert Run.open(tmp_path / "two").info["stopped_early"] == one.info["stopped_early"]


def test_early_stopping_needs_validation_images(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set validation above 0"):
        reslab.train(tiny.NETWORK, source, replace(RECIPE, validation=0.0), out=tmp_path / "no")
    with pytest.raises(UserError, match="stop_after is -1"):
        replace(RECIPE, stop_after=-1)
