"""`reslab track`, and `--track` of `reslab train`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import reslab
from reslab.core.errors import UserError
from reslab.runs.run import Run
from tests.helpers import tracked
from tests.helpers.cli import error_of, output_of
from tests.helpers.runs import make_run

pytestmark = pytest.mark.usefixtures("apart")


def test_runs_that_are_over_are_sent(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / name, epochs=1).path for name in ("a", "b")]
    lines = output_of("track", *paths, "--to", "tensorboard").splitlines()
    rows = len(Run.open(paths[0]).log()) - 1 + 1  # without the note, with the evaluation
    assert lines == [
        f"{path}: tensorboard: {rows} rows sent: {path / 'tensorboard'}" for path in paths
    ]
    for path in paths:
        run = Run.open(path)
        values = tracked.tensorboard(run)
        tracked.assert_equal(tracked.logged(values), tracked.expected(run))
    line = output_of("track", paths[0], "--to", "tensorboard").strip()
    assert line == f"{paths[0]}: tensorboard: nothing new: {paths[0] / 'tensorboard'}"


def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", epochs=1)
    assert "did you mean 'tensorboard'?" in error_of("track", run.path, "--to", "tensorbord")
    assert "name a tracker" in error_of("track", run.path, "--to", ",")
    assert "is not a run" in error_of("track", tmp_path, "--to", "tensorboard")
    assert "--to" in error_of("track", run.path)
    assert "no tracker 'x'" in error_of("train", "tiny", "--data", "characters", "--track", "x")
    monkeypatch.setattr("reslab.trackers.base.find_spec", lambda name: None)
    for words in (
        ("track", run.path, "--to", "tensorboard,mlflow"),
        ("train", "tiny", "--data", "characters", "--track", "tensorboard"),
    ):
        assert 'pip install "reslab[tensorboard]"' in error_of(*words)


def test_an_unknown_tracker_is_refused_before_the_data_are_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tracker 'tensor'"):
        reslab.train("tiny", tmp_path / "nothing", track=["tensor"])


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", epochs=1)
    (run.path / "tensorboard").write_text("", encoding="utf-8")
    text = error_of("track", run.path, "--to", "tensorboard")
    assert f"tensorboard does not get {run.path}: FileExistsError" in text


def test_the_recorded_trackers_go_to_a_further_run(trained: Run, tmp_path: Path) -> None:
    """`--resume RUN --epochs N` trains with the options of the run."""
    from reslab.runs.options import TrainingOptions

    copy = tmp_path / "copy"
    shutil.copytree(trained.path, copy)
    run = Run.open(copy)
    run.save(track=["tensorboard"])
    assert TrainingOptions.of_run(Run.open(copy).info).track == ("tensorboard",)
    del run.info["track"]  # as older versions wrote it
    run.save()
    assert TrainingOptions.of_run(Run.open(copy).info).track == ()
