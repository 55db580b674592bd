"""K-fold cross-validation: the runs, their ensemble, the report, and a resume."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.evaluation.ensemble import averaged
from reslab.runs.run import Run
from reslab.training import finish
from reslab.training.folds import resume_folds, train_folds
from tests.helpers import tiny
from tests.helpers.cli import error_of, output_of
from tests.helpers.training import RECIPE


@pytest.mark.core
def test_every_image_validates_once_and_the_ensemble_reads_the_test_set(
    thirds: Path, tmp_path: Path
) -> None:
    result = train_folds(tiny.NETWORK, thirds, RECIPE, folds=3, epochs=1, out=tmp_path / "folds")
    data = reslab.data.load(thirds, validation=0)
    counts = [run.info["data"]["counts"] for run in result.runs]
    assert sum(count["validation"] for count in counts) == len(data.train)
    assert all(count["train"] + count["validation"] == len(data.train) for count in counts)
    assert all(run.evaluation["split"] == "validation" for run in result.runs if run.evaluation)
    assert result.evaluation is not None
    assert (result.evaluation["split"], result.evaluation["readings"]) == ("test", 1)

    models = [keras.saving.load_model(run.model_path) for run in result.runs]
    assert data.test is not None
    images = data.test.images(slice(None))
    mean = np.mean([model.predict_on_batch(images) for model in models], axis=0)
    wrong = float((mean.argmax(-1) != data.test.labels).mean())
    assert result.evaluation["top1_error"]["value"] == pytest.approx(wrong)

    first, second = result.sentences
    assert first.startswith("validation error ")
    assert first.endswith("between 3 folds")
    assert second.startswith("ensemble of all folds: test error")
    page = (result.path / "report.html").read_text(encoding="utf-8")
    assert "Mean over folds" in page
    assert second[1:] in page

    before = (result.path / "evaluation.json").read_bytes()
    again = resume_folds(result.path)
    assert not again.trained
    assert (result.path / "evaluation.json").read_bytes() == before


def test_an_interrupted_cross_validation_is_resumed(thirds: Path, tmp_path: Path) -> None:
    whole = train_folds(tiny.NETWORK, thirds, RECIPE, folds=2, epochs=1, out=tmp_path / "whole")

    class Killed(BaseException):
        pass

    with (
        mock.patch.object(finish, "_save_model", side_effect=Killed),
        pytest.raises(Killed),
    ):
        train_folds(tiny.NETWORK, thirds, RECIPE, folds=2, epochs=1, out=tmp_path / "parts")
    parts = resume_folds(tmp_path / "parts")
    for one, other in zip(whole.runs, parts.runs, strict=True):
        assert one.log("epoch")[0]["val_loss"] == other.log("epoch")[0]["val_loss"]
    assert parts.evaluation is not None
    assert whole.evaluation is not None
    assert parts.evaluation["loss"] == whole.evaluation["loss"]


def test_the_averaged_model_is_the_mean_of_its_members() -> None:
    models = []
    for seed in (0, 1, 2):
        keras.utils.set_random_seed(seed)
        models.append(reslab.create(tiny.NETWORK))
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    expected = np.mean([model.predict_on_batch(x) for model in models], axis=0)
    np.testing.assert_allclose(averaged(models).predict_on_batch(x), expected, atol=1e-6)


@pytest.mark.usefixtures("apart")
def test_the_command(thirds: Path) -> None:
    words = "train", "tiny", "--data", thirds, "--epochs", 1, "--batch", 16, "--folds", 2
    lines = output_of(*words, "--out", "folds").splitlines()
    assert lines[0].startswith("fold 1: validation error")
    assert lines[-2].startswith("ensemble of all folds: test error")
    assert lines[-1] == f"report: {Path('folds/report.html')}"
    assert json.loads(Path("folds/folds.json").read_text())["folds"] == [1, 2]
    assert output_of("train", "--resume", "folds").splitlines()[0] == "folds is finished already"
    assert "validation error" in output_of("evaluate", Path("folds/tiny-fold1"))
    assert Run.open(Path("folds/tiny-fold2")).info["data"]["provenance"]["fold"] == [2, 2]
    assert "leave one out" in error_of(*words, "--seeds", 2, "--out", "other")
    for given in (("--set", "validation=0.2"), ("--validation", "0.2")):
        assert "validation has no effect" in error_of(*words, *given)
    assert "--epochs is for one run" in error_of("train", "--resume", "folds", "--epochs", 2)


def test_too_many_folds_leave_nothing(thirds: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give fewer folds"):
        train_folds(tiny.NETWORK, thirds, RECIPE, folds=500, out=tmp_path / "folds")
    assert not (tmp_path / "folds").exists()
