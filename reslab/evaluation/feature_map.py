"""A map of images: their features in two dimensions, by PCA, and by UMAP if it is installed."""

from __future__ import annotations

import base64
import importlib.util
import io
import logging
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab.core.errors import one_line

if TYPE_CHECKING:
    from reslab.data import Split

log = logging.getLogger("reslab.evaluation")
FEWEST = 3  # images
SIDE = 32  # of the small pictures, pixels
COLUMNS = 48  # of small pictures side by side
QUALITY = 70  # of their JPEG


def feature_map(
    split: Split, probabilities: np.ndarray, positions: np.ndarray, features: np.ndarray
) -> dict[str, Any] | None:
    """What evaluation.json holds as "map"; None for fewer than `FEWEST` images.

    Args:
        split: The evaluated images.
        probabilities: Of all images, float (n, k).
        positions: Of the images on the map, int (m,).
        features: Their features, float (m, d).
    """
    if len(positions) < FEWEST:
        return None
    points, explained = pca(features)
    charts = [{**_chart("PCA", points), "explained": explained}]
    if importlib.util.find_spec("umap") is not None and (embedded := umap(features)) is not None:
        charts.insert(0, _chart("UMAP", embedded))
    names = split.names
    return {
        "images": len(positions),
        "of": len(split),
        "charts": charts,
        "index": positions.tolist(),
        "true": split.labels[positions].tolist(),
        "predicted": probabilities[positions].argmax(-1).tolist(),
        "files": None if names is None else [names[i] for i in positions.tolist()],
        "sprite": _sprite(split, positions),
    }


def pca(features: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """The first two principal components.

    Args:
        features: float (m, d).

    Returns:
        The coordinates, float64 (m, 2), and the fraction of the variance that each explains. The
        largest coordinate of each component is positive.
    """
    from scipy.sparse.linalg import svds

    centred = features.astype("float64") - features.mean(0, dtype="float64")
    total = float(np.square(centred).sum())
    if min(centred.shape) > 20 and total > 0:  # Lanczos: a few products with the matrix
        start = np.ones(min(centred.shape)) / np.sqrt(min(centred.shape))
        left, sizes, _ = svds(centred, k=2, v0=start, solver="arpack")
        order = np.argsort(-sizes)
        left, sizes = left[:, order], sizes[order]
    else:
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
        left, sizes = left[:, :2], sizes[:2]
    points = np.zeros((len(centred), 2))
    points[:, : len(sizes)] = left * sizes
    largest = np.abs(points).argmax(0)
    points *= np.where(points[largest, [0, 1]] < 0, -1, 1)
    explained = [float(size**2 / total) if total else 0.0 for size in sizes]
    return points, [min(1.0, round(e, 4)) for e in (*explained, 0.0)[:2]]


def umap(features: np.ndarray) -> np.ndarray | None:
    """The embedding of UMAP with a fixed seed (McInnes et al. 2018), float (m, 2).

    None, with a warning in the log, if it fails: the map is not worth a training that ended well.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about threads, and about small sets
            reducer = _umap_class()(
                n_neighbors=min(15, len(features) - 1),
                random_state=0,
                n_jobs=1,
                init="pca" if len(features) < 50 else "spectral",
            )
            return np.asarray(reducer.fit_transform(features))
    except Exception as error:
        log.warning("UMAP draws no map: %s", one_line(error))
        return None


def _umap_class() -> Any:
    """The class UMAP. Its package also imports TensorFlow and torchvision, for another class."""
    unused = "umap.parametric_umap"
    new = unused not in sys.modules
    modules: dict[str, Any] = sys.modules
    if new:
        modules[unused] = None  # the import fails, which the package expects
    try:
        from umap import UMAP
    finally:
        if new:
            modules.pop(unused, None)
    return UMAP


def _chart(method: str, points: np.ndarray) -> dict[str, Any]:
    x, y = ([float(f"{value:.4g}") for value in axis.tolist()] for axis in points.T)
    return {"method": method, "x": x, "y": y}


def _sprite(split: Split, positions: np.ndarray) -> dict[str, Any]:
    """Small pictures of the images, in rows of `COLUMNS`."""
    from PIL import Image

    height, width, channels = split.image_shape
    side = min(SIDE, max(height, width))
    columns = min(COLUMNS, len(positions))
    size = columns * side, -(-len(positions) // columns) * side
    sheet = Image.new("L" if channels == 1 else "RGB", size)
    for start in range(0, len(positions), 256):
        for i, image in enumerate(split.images(positions[start : start + 256]), start):
            picture = Image.fromarray(image[..., 0] if channels == 1 else image)
            picture.thumbnail((side, side))
            row, column = divmod(i, columns)
            space = (side - picture.width) // 2, (side - picture.height) // 2
            sheet.paste(picture, (column * side + space[0], row * side + space[1]))
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=QUALITY, optimize=True)
    return {"side": side, "columns": columns, "jpeg": base64.b64encode(out.getvalue()).decode()}
