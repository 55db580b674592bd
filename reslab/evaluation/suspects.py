"""Images of the training and validation parts whose label the model contradicts: suspects.json.

A wrong label in these parts is not visible in the evaluation, which reads test images. NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab.core.rng import Stream

if TYPE_CHECKING:
    import keras

    from reslab.data import Data, Normalization
    from reslab.evaluation.tasks.base import Task

SURE = 0.5  # a confidence above this one: the model prefers one class to all others together
PARTS = {"train": "training"}  # what the parts are called
WEAK = 0.3  # a model that contradicts more of the labels says little about them
A_PART = 16  # suspects of a part that are kept, the surest ones
BLOCK = 256  # of whole blocks, so that no other shape of a batch has to be compiled
FEWEST = 4 * BLOCK  # images of a part; parts up to this size are always examined as a whole


def limit(trained_on: int) -> int:
    """The most images to examine of a part, after a training on this number of images.

    Each image counts once per epoch. A training step costs at least three forward passes, so 1.5 %
    of the images of a training cost at most 0.5 % of its time, and both parts 1 %.
    """
    return max(FEWEST, 15 * trained_on // 1000 // BLOCK * BLOCK)


def sample(n: int, most: int) -> np.ndarray:
    """Positions int (k,) of at most `most` of n images, in order; the same ones for every run."""
    if n <= most:
        return np.arange(n)
    return np.sort(Stream("suspects", n).permutation(n)[:most])


def surest_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Indices of the mistakes with a confidence above `SURE`, the most confident ones first."""
    confidence = probabilities.max(-1)
    with np.errstate(invalid="ignore"):
        sure = np.flatnonzero((probabilities.argmax(-1) != labels) & (confidence > SURE))
    return sure[np.argsort(-confidence[sure], kind="stable")]


def find(
    task: Task,
    model: keras.Model,
    data: Data,
    normalization: Normalization,
    batch: int,
    trained_on: int,
) -> dict[str, Any]:
    """Return what suspects.json holds.

    Args:
        task: The task of the run.
        model: From normalised images to logits.
        data: The data of the run. The test part is not read.
        normalization: That of the run.
        batch: Images per forward pass.
        trained_on: The images of all steps of the training, see `limit`.

    Returns:
        `"sure"`: the confidence above which a mistake counts. `"parts"`: for each part the images
        examined ("n") of those there are ("of"; of several labels per image the labels, beside
        "images"), the mistakes among them ("wrong") and the sure
        ones ("sure"). `"suspects"`: the surest mistakes of each part with "split", "index", "file",
        "true", "predicted", "confidence" and "png", the most confident ones first.
    """
    parts, suspects = [], []
    for name, split in (("validation", data.validation), ("train", data.train)):
        if split is None or not len(split):
            continue
        positions = sample(len(split), limit(trained_on))
        counts, rows = task.suspects(model, split, positions, data, normalization, batch)
        parts.append({"split": name, "n": len(positions), "of": len(split), **counts})
        suspects += [{"split": name, **row} for row in rows[:A_PART]]
    suspects.sort(key=lambda row: -row["confidence"])
    return {"sure": task.sure, "parts": parts, "suspects": suspects}


def is_weak(stored: Mapping[str, Any]) -> bool:
    """Whether the model is wrong so often that its mistakes say little about the labels."""
    wrong, n = (sum(part[key] for part in stored["parts"]) for key in ("wrong", "n"))
    return bool(wrong > WEAK * n)


def sentence(stored: Mapping[str, Any]) -> str:
    """One line about the labels that may be wrong; "" if there are none, or the model is weak."""
    n = sum(part["sure"] for part in stored["parts"])
    if not n or is_weak(stored):
        return ""
    parts = " and ".join(
        f"{part.get('images', part['n']):,} {PARTS.get(part['split'], part['split'])}"
        for part in stored["parts"]
    )
    labels = "1 label" if n == 1 else f"{n:,} labels"
    return f"{labels} of {parts} images may be wrong: see “Possible wrong labels” in the report"
