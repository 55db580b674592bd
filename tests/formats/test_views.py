"""Resizing and cropping in a graph, against Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from reslab.data import images
from reslab.engines.graph import Builder, Graph
from reslab.engines.onnx_proto import proto
from reslab.engines.opening import onnxruntime, openvino, write_openvino
from reslab.formats.comparison import rows_first
from reslab.formats.views import CentreView, ResizedView, add_view
from reslab.weights.preprocessing import Preprocessing

SIZES = ((480, 640), (1080, 1440), (300, 200), (100, 90), (28, 28), (224, 224), (7, 300), (33, 17))
RNG = np.random.default_rng(0)


def photo(height: int, width: int, channels: int = 3) -> np.ndarray:
    """A picture with structure at several scales, uint8 (height, width, channels)."""
    total = np.zeros((height, width, channels))
    for step in (2, 8, 64):
        blocks = RNG.uniform(0, 85, (height // step + 1, width // step + 1, channels))
        total += blocks.repeat(step, 0).repeat(step, 1)[:height, :width]
    return total.astype(np.uint8)


def difference(view, pixels, picture):
    return np.abs(pixels - rows_first(view, picture[None])[0].astype(float))


def runs(view, tmp_path, channels=3, order="rgb"):
    """The view on each runtime that is installed."""
    builder = Builder()
    last = add_view(builder, "images", view, order)
    graph = Graph(
        "view",
        {"images": (None, None, None, channels)},
        tuple(builder.ops.values()),
        builder.constants,
        {last: (None, view.height, view.width, channels)},
        {"images": "uint8"},
    )
    pytest.importorskip("onnx")
    model = proto(graph).SerializeToString()
    pytest.importorskip("onnxruntime")
    (tmp_path / "view.onnx").write_bytes(model)
    yield "onnx", onnxruntime(tmp_path / "view.onnx")
    pytest.importorskip("openvino")
    write_openvino(model, {}, tmp_path / "view.xml")
    yield "openvino", openvino(tmp_path / "view.xml")


@pytest.mark.parametrize(
    "view",
    [CentreView(224, 224, True), CentreView(28, 28, False), CentreView(96, 160, True)],
    ids=str,
)
def test_the_centre_view(view, tmp_path):
    for name, run in runs(view, tmp_path):
        for size in SIZES:
            picture = photo(*size)
            found = difference(view, run(picture[None])[0], picture)
            assert found.max() <= (1 if name == "onnx" else 2), size
            assert found.mean() < (0.02 if name == "onnx" else 0.2), size


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "hamming"])
@pytest.mark.parametrize("resize", [256, 235, None])
def test_the_views_of_published_weights(interpolation, resize, tmp_path):
    view = ResizedView(224, 224, resize, interpolation)
    for name, run in runs(view, tmp_path):
        for size in ((480, 640), (301, 223), (100, 90)):
            picture = photo(*size)
            found = difference(view, run(picture[None])[0], picture)
            # a level of the first pass counts more where the weights of the second are negative
            assert found.max() <= (1 if (name, interpolation) == ("onnx", "bilinear") else 2), size
            assert found.mean() < (0.02 if name == "onnx" else 0.2), size


@pytest.mark.parametrize("size", SIZES)
def test_pillow_is_asked_as_predictions_ask_it(size):
    """But for the order of the axes, which changes some pixels by a level."""
    picture, file = photo(*size), io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    published = Preprocessing(size=32, resize=40).picture(io.BytesIO(file.getvalue()))
    centre = images.view(Image.fromarray(picture), (24, 32), None, None, True)
    for view, expected in (
        (ResizedView(32, 32, 40, "bilinear"), published),
        (CentreView(24, 32, True), np.asarray(centre)),
    ):
        found = difference(view, expected, picture)
        assert found.max() <= 2
        assert found.mean() < 0.5


def test_grey_pictures_batches_and_the_order_of_channels(tmp_path):
    view = CentreView(16, 12, margin=False)
    picture = photo(40, 30, 1)
    for _, run in runs(view, tmp_path, channels=1):
        assert difference(view, run(np.stack([picture] * 3))[2], picture).max() <= 1
    colours = photo(40, 30)[None]
    (_, rgb), *_ = runs(view, tmp_path)
    straight = rgb(colours)
    (_, bgr), *_ = runs(view, tmp_path, order="bgr")
    np.testing.assert_array_equal(bgr(colours), straight[..., ::-1])
