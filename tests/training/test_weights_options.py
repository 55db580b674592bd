"""Runs record with which options their weights were read, and use them again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.models.build import create
from reslab.report.reproduce import training_command
from reslab.runs.options import TrainingOptions, weights_options, weights_text
from reslab.runs.run import Run
from tests.helpers import tiny
from tests.helpers.cli import error_of, output_of

OPTIONS = "scheme", "strict", "ema"
HOW: dict[str, Any] = {"epochs": 0.25, "batch": 16}


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with averages beside the last weights, and a tensor of another network."""
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("weights")
    models = [create(tiny.NETWORK), create(tiny.NETWORK)]
    sets = []
    for number, model in enumerate(models):
        for v in model.variables:
            if keras.backend.is_float_dtype(v.dtype):
                v.assign(np.full(v.shape, 0.1 * (number + 1), "float32"))
        reslab.weights.save(model, folder / "one.pth", "reslab")
        sets.append(torch.load(folder / "one.pth", weights_only=True))
    sets[0]["another/kernel"] = sets[1]["another/kernel"] = torch.zeros(3)
    torch.save({"state_dict": sets[0], "state_dict_ema": sets[1]}, folder / "both.pth")
    return folder / "both.pth"


@pytest.mark.usefixtures("apart")
def test_run_json_records_the_options_of_weights(averaged: Path, thirds: Path) -> None:
    options = ["--scheme", "reslab", "--no-strict", "--no-ema", "--epochs", "0.25", "--batch", "16"]
    weights = ["--weights", averaged, *options]
    output_of("train", "tiny", "--data", thirds, "--out", "run", *weights)
    run = Run.open("run")
    recorded = run.info["weights"]
    assert {k: recorded[k] for k in OPTIONS} == {"scheme": "reslab", "strict": False, "ema": False}
    given = TrainingOptions.of_run(run.info)
    assert (given.scheme, given.strict, given.ema) == ("reslab", False, False)
    assert weights_text(recorded).endswith("both.pth --scheme reslab --no-strict --no-ema")
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "(reslab names, --no-strict, --no-ema)" in page
    # from Python, where there is no command to show
    command = training_command(run.path, {**run.info, "command": None}, run.network)
    assert command.endswith("both.pth --scheme reslab --no-strict --no-ema")


def test_defaults_are_not_recorded_and_old_runs_open(
    thirds: Path, trained: Run, tmp_path: Path
) -> None:
    run = reslab.train(tiny.NETWORK, thirds, weights=trained.path, out=tmp_path / "run", **HOW)
    assert not {"strict", "ema", "scheme_given"} & run.info["weights"].keys()
    assert weights_options(run.info["weights"]) == {}
    for old in ({"source": "a b"}, {"source": "a b", "scheme": "timm"}):
        assert weights_options(old) == {}
        assert weights_text(old) == "--weights 'a b'"
        run.save(weights=old)
        given = TrainingOptions.of_run(Run.open(run.path).info)
        assert (given.weights, given.scheme, given.strict, given.ema) == ("a b", "auto", True, True)


def test_damaged_options_are_refused(trained: Run, tmp_path: Path) -> None:
    shutil.copytree(trained.path, tmp_path / "run")
    for damage in ({"strict": 3}, {"ema": "no"}, {"scheme": [1]}):
        Run.open(trained.path)
        run = Run(tmp_path / "run", {**trained.info, "weights": {"source": "a", **damage}})
        run.save()
        with pytest.raises(UserError, match=next(iter(damage))):
            Run.open(run.path)


@pytest.mark.usefixtures("apart")
def test_a_resumed_run_and_its_advice(averaged: Path, thirds: Path) -> None:
    how: dict[str, Any] = {"scheme": "reslab", "strict": False, "ema": False, **HOW}
    run = reslab.train(tiny.NETWORK, thirds, weights=averaged, out="run", **how)
    longer = reslab.resume(run.path, epochs=0.5, out="longer")  # from the run, not from the file
    assert longer.info["weights"]["source"] == str(run.path)
    assert not {"strict", "ema", "scheme_given"} & longer.info["weights"].keys()
    (run.checkpoints / "last.safetensors").unlink()
    run.save(status="running")
    line = error_of("train", "--resume", run.path)
    assert f"start again with --weights {averaged} --scheme reslab --no-strict --no-ema" in line


@pytest.mark.usefixtures("apart")
def test_runs_of_several_seeds_use_them_when_resumed(averaged: Path, thirds: Path) -> None:
    """The second run begins after the first was interrupted: with the same options."""
    options = [
        "--weights",
        averaged,
        "--no-strict",
        "--no-ema",
        "--epochs",
        "0.25",
        "--batch",
        "16",
    ]
    output_of("train", "tiny", "--data", thirds, "--out", "both", "--seeds", "2", *options)
    one, two = sorted(path.parent for path in Path("both").glob("*/run.json"))
    shutil.rmtree(two)
    output_of("train", "--resume", "both")
    assert Run.open(two).info["weights"] == Run.open(one).info["weights"]
    assert Run.open(two).info["weights"]["ema"] is False
