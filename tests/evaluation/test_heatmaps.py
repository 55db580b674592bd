"""`reslab predict --heatmap`: the map lies over the picture where the model sees the class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reslab
from reslab import weights, zoo
from reslab.core.errors import UserError
from reslab.plots import heat
from reslab.runs.run import Run
from tests.helpers import spots
from tests.helpers.cli import error_of, output_of

pytestmark = pytest.mark.usefixtures("apart")
SIZES = ((300, 200), (200, 320), (64, 96), (1500, 700), (30, 45))
CAPTION = 98  # pixels below the picture
SPOTS = ((0.5, 0.5), (0.35, 0.4), (0.62, 0.55))


def hottest(file: Path, width: int, height: int) -> tuple[float, float]:
    """The centre of the hottest places of a heatmap, as shares of the picture's sides."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"), int)
    shown_height = pixels.shape[0] - CAPTION
    shown_width = round(shown_height * width / height)
    left = (pixels.shape[1] - shown_width) // 2  # narrow pictures are on a wider canvas
    part = pixels[:shown_height, left : left + shown_width].sum(-1)
    rows, columns = np.nonzero(part > 0.9 * part.max())
    return (columns.mean() + 0.5) / shown_width, (rows.mean() + 0.5) / shown_height


@pytest.mark.parametrize("kind", ["global", "flat", "weights", "exported"])
def test_the_hottest_place_is_where_the_spot_is(kind, tmp_path, monkeypatch):
    """Class activation maps, Grad-CAM, another preprocessing, and the maps of exported files."""
    options = {}
    if kind == "weights":
        net = spots.network(224, 224)
        monkeypatch.setitem(zoo.NETWORKS, "spots", net)
        file = tmp_path / "w.safetensors"
        weights.save(spots.bright(reslab.create("spots")), file)
        model, options = "spots", {"weights": file}
    else:
        head = spots.HEADS["flat" if kind == "flat" else "global"]
        model = spots.model_file(tmp_path / "m.keras", head=head)
    if kind == "exported":
        pytest.importorskip("onnxruntime")
        reslab.export(model, "onnx", tmp_path / "m.onnx", maps=True)
        model = tmp_path / "m.onnx"
    pictures, places = [], []
    for i, (size, place) in enumerate((s, p) for s in SIZES for p in SPOTS):
        pictures.append(spots.picture(tmp_path / f"{i}.png", *size, *place))
        places.append((size, place))
    results = reslab.predict(model, pictures, heatmap=tmp_path / "maps", **options)
    for result, picture, (size, place) in zip(results, pictures, places, strict=True):
        assert result["predictions"][0]["class"] in ("bright", "class 0")
        assert result["heatmap"] == str(tmp_path / "maps" / f"{picture.stem}-heatmap.jpg")
        cell = 0.05 if max(size) > 50 else 0.08  # of the sides
        assert hottest(Path(result["heatmap"]), *size) == pytest.approx(place, abs=cell), size


def test_what_the_model_does_not_see_is_dimmed():
    picture = np.full((100, 200, 3), 200, np.uint8)
    values = np.ones((4, 4))
    drawn = heat.overlay(picture, values, (60, 10, 140, 90))
    seen = (drawn != round(200 * heat.DIMMED)).any(-1)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (10, 89, 60, 139)
    assert np.ptp(drawn[10:90, 60:140], axis=(0, 1)).max() == 0


def test_a_map_without_positive_values_has_the_lowest_colour():
    drawn = heat.overlay(np.full((10, 10, 1), 100, np.uint8), -np.ones((2, 2)))
    lowest = heat.OPACITY * heat.colours()[0] + (1 - heat.OPACITY) * 100
    np.testing.assert_array_equal(drawn, np.broadcast_to(lowest.round(), drawn.shape))


def test_the_command(trained: Run, tmp_path):
    (tmp_path / "a").mkdir()
    upright = Image.Exif()
    upright[0x0112] = 6
    pictures = [
        spots.picture(tmp_path / "p.jpg", 60, 30, 0.5, 0.5, exif=upright),
        spots.picture(tmp_path / "a" / "p.png", 40, 40, 0.5, 0.5),
    ]
    folder = tmp_path / "maps"
    rows = json.loads(output_of("predict", trained.path, *pictures, "--heatmap", folder, "--json"))
    assert [Path(row["heatmap"]).name for row in rows] == ["p-heatmap.jpg", "p-2-heatmap.jpg"]
    with Image.open(rows[0]["heatmap"]) as image:
        assert image.format == "JPEG"
        assert image.height > image.width  # upright, as the orientation says
    lines = output_of("predict", trained.path, pictures[0], "--heatmap", folder).splitlines()
    assert lines[0].startswith(str(pictures[0]))
    (tmp_path / "file").write_text("")
    assert "file" in error_of("predict", trained.path, pictures[0], "--heatmap", tmp_path / "file")


def test_exported_files_without_maps(trained: Run, tmp_path):
    pytest.importorskip("onnxruntime")
    reslab.export(trained, "onnx", tmp_path / "m.onnx")
    picture = spots.picture(tmp_path / "p.png", 20, 20, 0.5, 0.5)
    with pytest.raises(UserError, match="has no maps: export it with --maps"):
        reslab.predict(tmp_path / "m.onnx", picture, heatmap=tmp_path / "maps")


def test_arrays_and_several_labels(tmp_path):
    card = {"task": "multilabel", "thresholds": [0.9, 0.9]}
    model = spots.model_file(tmp_path / "m.keras", **card)
    images = np.zeros((2, 50, 60, 3), np.uint8)
    results = reslab.predict(model, images, heatmap=tmp_path / "maps")
    assert [Path(r["heatmap"]).name for r in results] == [
        "image-0-heatmap.jpg",
        "image-1-heatmap.jpg",
    ]
