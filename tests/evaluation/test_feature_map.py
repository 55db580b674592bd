"""The map of images by their features."""

from __future__ import annotations

import base64
import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from reslab.data import ArraySplit
from reslab.evaluation import feature_map


@pytest.fixture(autouse=True)
def without_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "umap" else real(name)
    )


@pytest.mark.parametrize("shape", [(200, 40), (40, 200), (10, 30), (30, 1), (3, 2)])
def test_the_components_are_those_of_the_singular_value_decomposition(
    shape: tuple[int, int],
) -> None:
    features = np.random.default_rng(0).normal(3, 2, shape)
    points, explained = feature_map.pca(features)
    centred = features - features.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    for axis in range(min(2, shape[1])):
        np.testing.assert_allclose(np.abs(points[:, axis]), np.abs(left[:, axis] * sizes[axis]))
        assert points[np.abs(points[:, axis]).argmax(), axis] > 0
        assert explained[axis] == pytest.approx(sizes[axis] ** 2 / (sizes**2).sum(), abs=1e-4)
    again, _ = feature_map.pca(features)
    np.testing.assert_array_equal(points, again)


def test_equal_features_are_one_point() -> None:
    points, explained = feature_map.pca(np.ones((30, 30), "float32"))
    np.testing.assert_array_equal(points, 0)
    assert explained == [0, 0]


def test_the_small_pictures_are_in_the_order_of_the_points() -> None:
    values = np.linspace(0, 250, 120).astype(np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (120, 40, 20, 3))
    split = ArraySplit.of(images, np.arange(120) % 3)
    positions = np.arange(0, 120, 2)
    probabilities = np.eye(3)[np.arange(120) % 3]
    features = np.random.default_rng(0).normal(size=(60, 8))
    result = feature_map.feature_map(split, probabilities, positions, features)
    assert result is not None
    assert result["index"] == positions.tolist()
    assert result["predicted"] == result["true"] == (positions % 3).tolist()
    assert [chart["method"] for chart in result["charts"]] == ["PCA"]
    assert result["files"] is None
    sheet = Image.open(io.BytesIO(base64.b64decode(result["sprite"]["jpeg"])))
    side, columns = result["sprite"]["side"], result["sprite"]["columns"]
    assert sheet.size == (columns * side, 2 * side)
    for i in (0, 7, columns, 59):
        row, column = divmod(i, columns)
        middle = sheet.getpixel((column * side + side // 2, row * side + side // 2))
        assert isinstance(middle, tuple)
        assert abs(middle[0] - int(values[positions[i]])) <= 4


def test_two_images_are_no_map() -> None:
    split = ArraySplit.of(np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1]))
    assert feature_map.feature_map(split, np.eye(2), np.arange(2), np.eye(2)) is None


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="needs umap-learn")
def test_umap_draws_the_same_map_twice() -> None:
    features = np.random.default_rng(0).normal(size=(80, 12))
    one, two = (feature_map.umap(features) for _ in range(2))
    assert one is not None
    assert two is not None
    assert one.shape == (80, 2)
    np.testing.assert_array_equal(one, two)


def test_umap_that_fails_leaves_the_other_map(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise ImportError("numba is too old")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(feature_map, "_umap_class", fails)
    split = ArraySplit.of(np.zeros((9, 4, 4, 1), np.uint8), np.arange(9) % 3)
    features = np.random.default_rng(0).normal(size=(9, 5))
    result = feature_map.feature_map(split, np.eye(3)[np.arange(9) % 3], np.arange(9), features)
    assert result is not None
    assert [chart["method"] for chart in result["charts"]] == ["PCA"]
    assert "UMAP draws no map: numba is too old" in caplog.text
