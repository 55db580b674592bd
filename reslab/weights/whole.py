"""Whole models that a run wrote, read as weights: without building the model."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from reslab.core import records
from reslab.core.paths import regular


def normalization(path: Path) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Mean and std of a whole model's normalisation layer, from its configuration."""
    try:
        with zipfile.ZipFile(regular(path)) as file:
            layers = records.parse(file.read("config.json"))["config"]["layers"]
        config = next(x["config"] for x in layers if x["class_name"] == "Normalization")
        mean, variance = (np.array(config[k], "float32") for k in ("mean", "variance"))
    except (OSError, KeyError, ValueError, TypeError, StopIteration, zipfile.BadZipFile):
        return None, None
    shape = (1,) * (3 - mean.ndim) + mean.shape
    return mean.reshape(shape), np.sqrt(variance).reshape(shape)
