"""Maps of the mistakes of an evaluation, and their pictures in the report."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

import reslab
from reslab.core.errors import UserError
from reslab.data.dataset import ArraySplit
from reslab.evaluation import mistake_maps
from reslab.evaluation.maps import ClassMaps
from reslab.models import saved
from reslab.plots import heat
from reslab.report.thumbnails import thumbnail
from reslab.runs.run import Run
from tests.helpers import spots


def values(mistake: dict) -> np.ndarray:
    stored = mistake["map"]
    levels = np.frombuffer(base64.b64decode(stored["values"]), np.uint8)
    return levels.reshape(stored["rows"], stored["columns"]) / 255


@pytest.mark.parametrize("head", ["global", "flat"])
def test_they_are_those_of_the_predicted_class(head, tmp_path):
    model = saved.load(spots.model_file(tmp_path / "m.keras", 32, 48, spots.HEADS[head]))
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3), dtype=np.uint8)
    split = ArraySplit(images, np.zeros(5, "int32"), np.arange(5))
    mistakes = [{"index": i, "predicted": spots.CLASSES[i % 2]} for i in (3, 0, 4)]
    mistake_maps.add(model, split, mistakes, spots.CLASSES)
    expected = ClassMaps(model)(images[[3, 0, 4]], [1, 0, 0])
    for mistake, maps in zip(mistakes, expected, strict=True):
        positive = np.maximum(maps, 0) / max(maps.max(), 1e-9)
        np.testing.assert_allclose(values(mistake), positive, atol=0.003)


@pytest.mark.parametrize("error", [UserError("no maps"), RuntimeError("out of memory")])
def test_an_evaluation_does_not_fail_for_them(error, monkeypatch, tmp_path):
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(mistake_maps, "_maps", fails)
    mistakes = [{"index": 0, "predicted": "dark"}]
    split = ArraySplit(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, "int32"), np.arange(1))
    mistake_maps.add(None, split, mistakes, spots.CLASSES)
    assert mistakes == [{"index": 0, "predicted": "dark"}]


def test_the_report_shows_them(trained: Run):
    evaluation = reslab.evaluate(trained)
    if not evaluation["mistakes"]:
        pytest.fail("the run must make mistakes")
    assert {mistake["map"]["rows"] for mistake in evaluation["mistakes"]} == {8}
    shown = thumbnail(evaluation["mistakes"][0])
    with Image.open(io.BytesIO(base64.b64decode(shown["heat"].partition(",")[2]))) as picture:
        drawn = np.asarray(picture.convert("RGB"), int)
    with Image.open(io.BytesIO(base64.b64decode(evaluation["mistakes"][0]["png"]))) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    over = heat.overlay(pixels, values(evaluation["mistakes"][0])).astype(int)
    assert np.abs(drawn - over).mean() < 6  # 64 colours


@pytest.mark.parametrize(
    "stored",
    [
        {"rows": 3, "columns": 3, "values": "no base64!"},
        {"rows": 3, "columns": 3, "values": base64.b64encode(bytes(4)).decode()},
        {"rows": 0, "columns": 0, "values": ""},
        None,
    ],
)
def test_damaged_maps_are_left_out(stored, trained: Run):
    mistake = {**trained.evaluation["mistakes"][0], "map": stored}
    assert thumbnail(mistake)["heat"] is None
    assert thumbnail(mistake)["address"]
