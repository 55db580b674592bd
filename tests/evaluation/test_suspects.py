"""Images whose labels may be wrong: which ones are examined, and which ones are listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reslab
from reslab.core.interrupts import Interrupted
from reslab.evaluation import suspects
from reslab.runs.run import Run
from tests.helpers import tiny
from tests.helpers.cli import output_of, pictures
from tests.helpers.training import RECIPE


def test_small_parts_are_examined_as_a_whole_and_large_ones_by_a_fixed_sample() -> None:
    assert suspects.sample(1000, suspects.limit(3000)).tolist() == list(range(1000))
    chosen = suspects.sample(54_000, suspects.limit(0))
    assert len(chosen) == len(set(chosen.tolist())) == suspects.FEWEST
    assert (np.diff(chosen) > 0).all()
    assert chosen.max() > 50_000
    np.testing.assert_array_equal(chosen, suspects.sample(54_000, suspects.limit(0)))


@pytest.mark.parametrize("epochs", [3, 5, 30, 300])
def test_two_large_parts_cost_at_most_one_percent_of_a_training(epochs: int) -> None:
    """In forward passes; a training step costs three of them per image."""
    trained_on = 54_000 * epochs
    assert 2 * suspects.limit(trained_on) <= 0.01 * 3 * trained_on
    assert suspects.limit(trained_on) % suspects.BLOCK == 0


def test_the_surest_mistakes_come_first_and_doubtful_ones_are_left_out() -> None:
    probabilities = np.array(
        [[0.4, 0.35, 0.25], [0.1, 0.9, 0.0], [0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [np.nan] * 3]
    )
    labels = np.array([1, 0, 0, 2, 1])
    assert suspects.surest_mistakes(probabilities, labels).tolist() == [1, 3]


def wrong_labels(root: Path) -> set[str]:
    """Move some pictures of the left third to the class of the middle; return their new paths."""
    files = sorted((root / "left").iterdir())[::12]
    for file in files:
        file.rename(root / "middle" / file.name)
    return {f"middle/{file.name}" for file in files}


@pytest.mark.core
def test_wrong_labels_are_found_without_reading_the_test_set_again(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos", each=60)
    wrong = wrong_labels(root)
    data = reslab.data.load(root, size=12, split="stratified")
    run = reslab.train(tiny.NETWORK, data, RECIPE, epochs=8, out=tmp_path / "run")
    stored = run.suspects
    assert stored is not None
    sizes = {part["split"]: (part["n"], part["of"]) for part in stored["parts"]}
    counts = run.info["data"]["counts"]
    assert sizes == {name: (counts[name],) * 2 for name in ("validation", "train")}
    assert data.test is not None
    assert data.test.names is not None
    wrong -= set(data.test.names)
    assert wrong
    listed = {row["file"]: row for row in stored["suspects"]}
    assert wrong <= set(listed)
    for file in wrong:
        assert (listed[file]["true"], listed[file]["predicted"]) == ("middle", "left")
        assert listed[file]["confidence"] > suspects.SURE
    confidences = [row["confidence"] for row in stored["suspects"]]
    assert confidences == sorted(confidences, reverse=True)
    assert not set(listed) & set(data.test.names)
    assert run.evaluation is not None
    assert run.evaluation["readings"] == 1
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert all(file in page for file in wrong)


def test_a_run_that_was_killed_before_the_file_ends_with_the_same_file(
    thirds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: Any = {"epochs": 1, "batch": 16}
    whole = reslab.train(tiny.NETWORK, thirds, out=tmp_path / "whole", **options)

    def killed(*args: Any, **more: Any) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(suspects, "find", killed)
        with pytest.raises(Interrupted):
            reslab.train(tiny.NETWORK, thirds, out=tmp_path / "killed", **options)
    assert Run.open(tmp_path / "killed").suspects is None
    again = reslab.resume(tmp_path / "killed")
    assert again.suspects == whole.suspects
    assert again.evaluation is not None
    assert again.evaluation["readings"] == 1


def test_the_terminal_has_one_line_if_there_are_suspects(apart: None) -> None:
    root = pictures(Path("photos"), each=60)
    wrong_labels(root)
    options = ("--epochs", 6, "--batch", 16, "--set", "rate=0.1")
    out = output_of("train", "tiny", "--data", root, "--size", 12, *options)
    lines = [line for line in out.splitlines() if "may be wrong" in line]
    run = Run.open(next(Path("runs").iterdir()))
    assert run.suspects is not None
    assert lines == [suspects.sentence(run.suspects)]
    assert "“Possible wrong labels” in the report" in lines[0]
    none = {"parts": [{"split": "train", "n": 100, "wrong": 2, "sure": 0}]}
    weak = {"parts": [{"split": "train", "n": 100, "wrong": 60, "sure": 9}]}
    assert suspects.sentence(none) == suspects.sentence(weak) == ""


def test_a_damaged_file_is_named(trained: Run, tmp_path: Path) -> None:
    run = Run(tmp_path, trained.info)
    (tmp_path / "suspects.json").write_text(json.dumps([1]))
    with pytest.raises(
        reslab.UserError, match=r"suspects\.json is damaged: expected .*; delete it"
    ):
        _ = run.suspects
