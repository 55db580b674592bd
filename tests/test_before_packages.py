"""Folders and model files that were made before the packages still open, resume and show.

`tests/golden/before_packages/README.md` says how they were made.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import reslab
from reslab.core.files import read_arrays
from reslab.studies.folder import Study
from reslab.studies.registry import PAGES, sections
from tests.helpers import tiny
from tests.helpers.cli import invoke

GOLDEN = Path(__file__).parent / "golden" / "before_packages"
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the folders were made on PyTorch"
)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folders, with the data set that the runs name beside them."""
    copy = shutil.copytree(GOLDEN, tmp_path / "copy")
    tiny.folder(copy / "thirds", train=96, test=24)
    monkeypatch.chdir(copy)
    return copy


def test_a_finished_run_opens(folders: Path) -> None:
    run = reslab.Run.open("run")
    assert run.network == tiny.NETWORK
    assert run.info["status"] == "done"
    assert [line["epoch"] for line in run.log("epoch")] == [1, 2]
    before = run.evaluation
    assert before is not None
    after = reslab.evaluate(run)
    assert after["top1_error"] == before["top1_error"]
    assert after["confusion"] == before["confusion"]
    assert reslab.resume("run").path == run.path  # writes the report that is missing
    assert (run.path / "report.html").exists()


def test_an_interrupted_run_resumes_and_equals_the_other(folders: Path) -> None:
    """Both runs have the same network, recipe, data and seed."""
    resumed = reslab.resume("interrupted")
    assert resumed.info["status"] == "done"
    ours, _ = read_arrays(folders / "interrupted" / "checkpoints" / "last.safetensors")
    theirs, _ = read_arrays(folders / "run" / "checkpoints" / "last.safetensors")
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():  # another processor may round otherwise
        np.testing.assert_allclose(array, theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", ["flat", "stacked"])
def test_a_model_file_loads(name: str) -> None:
    arrays = np.load(GOLDEN / f"{name}.npz")
    model = reslab.load(GOLDEN / f"{name}.keras")
    outputs = model.predict_on_batch(arrays["x"])
    np.testing.assert_allclose(outputs, arrays["y"], rtol=1e-3, atol=1e-4)
    if name == "stacked":
        assert type(model.optimizer).__name__ == "SGD"
        model.fit(arrays["x"], np.zeros((4, 3), "float32"), verbose=0)


def test_a_run_is_a_model_to_predict_with(folders: Path) -> None:
    model = reslab.load("run")
    images = np.zeros((2, 8, 8, 1), "float32")
    np.testing.assert_allclose(model.predict_on_batch(images).sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(PAGES))
def test_a_study_opens_and_shows_itself(folders: Path, kind: str) -> None:
    study = Study.open(Path("studies") / kind)
    assert study.kind == kind
    assert study.info["status"] == "done"
    assert sections(study)


def test_explain_reads_all_of_them(folders: Path) -> None:
    studies = [f"studies/{kind}" for kind in sorted(PAGES)]
    answer = invoke("explain", "run", *studies, "--out", "explain.html")
    assert answer.code == 0, answer.err
    assert "explain.html" in answer.out
