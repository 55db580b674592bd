"""A data set with several labels per image that a small network learns in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("bright", "columns", "rows")


def arrays(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise that is bright, or has stripes in columns or rows: uint8 (n, 8, 8), labels (n, 3)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, len(CLASSES)))
    images = rng.integers(0, 60, (n, 8, 8))
    bright, columns, rows = labels.T[..., None, None]
    images += 70 * bright
    images[:, :, ::2] += 60 * columns
    images[:, ::2] += 60 * rows
    return images.astype(np.uint8), labels


def table(root: Path, n: int = 160, mark: str = "|") -> Path:
    """Write pictures, and a table of them with all labels in one column."""
    (root / "images").mkdir(parents=True)
    rows = ["image,tags"]
    for i, (image, labels) in enumerate(zip(*arrays(n, 3), strict=True)):
        enlarged = image.repeat(3, 0).repeat(3, 1)  # stripes survive the scaling
        Image.fromarray(enlarged).save(root / "images" / f"{i:03}.png")
        rows.append(f"{i:03},{mark.join(np.array(CLASSES)[labels == 1])}")
    file = root / "tags.csv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file
