"""What all runs of a cross-validation say about the labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import reslab
from reslab.training.folds import resume_folds, train_folds
from tests.helpers import tiny
from tests.helpers.training import RECIPE


@pytest.mark.slow
def test_wrong_labels_of_all_images_are_found(tmp_path: Path) -> None:
    pytest.importorskip("cleanlab")
    images, labels = tiny.images(210, seed=4)
    wrong = [5, 44, 100]
    labels[wrong] = (labels[wrong] + 1) % tiny.CLASSES
    result = train_folds(
        tiny.NETWORK, (images, labels), RECIPE, folds=2, epochs=10, out=tmp_path / "folds"
    )
    stored = json.loads((result.path / "suspects.json").read_text())
    held_out = sum(run.info["data"]["counts"]["validation"] for run in result.runs)
    assert sum(part["n"] for part in stored["parts"]) == held_out
    data = reslab.data.load((images, labels))
    training = {"train": data.train, "validation": data.validation}
    planted = {
        (name, index)
        for name, split in training.items()
        if split is not None
        for index, image in enumerate(split.images(slice(None)))
        if any((image[..., 0] == images[i]).all() for i in wrong)
    }
    assert planted
    listed = {(row["split"], row["index"]) for row in stored["suspects"]}
    assert planted <= listed
    page = (result.path / "report.html").read_text(encoding="utf-8")
    assert "the run that predicted each of them was not trained on it" in page
    (result.path / "report.html").unlink()
    resume_folds(result.path)
    assert (result.path / "report.html").read_text(encoding="utf-8") == page
