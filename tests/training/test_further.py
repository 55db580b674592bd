"""Training a finished run further, as a new run that starts from its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.core.files import read_arrays
from reslab.runs.run import Run
from tests.helpers.cli import output_of
from tests.helpers.training import checkpoint_weights


@pytest.mark.core
def test_a_new_run_starts_from_the_finished_one(trained: Run, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in trained.path.rglob("*") if path.is_file()}
    run = reslab.resume(trained.path, epochs=0.5, out=tmp_path / "more")
    assert run.path == tmp_path / "more"
    assert run.info["status"] == "done"
    assert run.info["data"] == trained.info["data"]
    assert run.info["recipe"] == trained.info["recipe"] | {"epochs": 0.5}
    assert run.info["weights"]["source"] == str(trained.path)
    assert len(run.log("epoch")) == 1
    assert (
        before.items()
        <= {p: p.read_bytes() for p in trained.path.rglob("*") if p.is_file()}.items()
    )
    assert run.evaluation is not None
    assert run.evaluation["seen"]["count"] == 0
    start, _ = read_arrays(trained.checkpoints / "best.safetensors")
    short = reslab.resume(trained.path, epochs=0.01, out=tmp_path / "one-step")
    end, name = checkpoint_weights(short), "conv1_conv1/kernel"
    assert 0 < np.abs(end[name] - start[name]).max() < 0.1 * np.abs(start[name]).max()


def test_what_cannot_be_trained_further_is_refused(trained: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="add --epochs N"):
        reslab.resume(trained.path, out=tmp_path / "new")
    unfinished = Run(shutil.copytree(trained.path, tmp_path / "run"), dict(trained.info))
    unfinished.save(status="running")
    with pytest.raises(UserError, match="is not finished: resume it without --epochs"):
        reslab.resume(unfinished.path, epochs=2)


@pytest.mark.usefixtures("apart")
def test_the_command_trains_further(trained: Run) -> None:
    lines = output_of("train", "--resume", trained.path, "--epochs", 0.5, "--out", "more")
    assert "test error" in lines
    assert Run.open("more").info["status"] == "done"
