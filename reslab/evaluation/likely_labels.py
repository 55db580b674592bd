"""Labels that are likely wrong, by confident learning (Northcutt et al. 2021).

The library cleanlab computes it, from the probabilities of images that the model was not trained
on. An image is listed if its label contradicts a prediction that is confident for its class:
classes that the model predicts with less confidence have lower limits. The extra `labels` installs
the library.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab.core.errors import one_line
from reslab.evaluation import rows
from reslab.evaluation.suspects import A_PART

if TYPE_CHECKING:
    from reslab.data import Split

log = logging.getLogger("reslab.evaluation")
METHOD = "confident learning"
INSTALL = 'pip install "reslab[labels]"'
FEWEST = 2  # images, and classes among them


def installed() -> bool:
    """Whether labels that are likely wrong can be found."""
    return importlib.util.find_spec("cleanlab") is not None


def ranked(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The positions of the labels that are likely wrong, the likeliest first, int (m,).

    Args:
        probabilities: float (n, k), of images that the model was not trained on.
        labels: int (n,).
    """
    if len(labels) < FEWEST or len(np.unique(labels)) < FEWEST:
        return np.zeros(0, np.intp)
    logging.getLogger("cleanlab").setLevel(logging.ERROR)
    from cleanlab.filter import find_label_issues

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes with few images
        likely = find_label_issues(
            labels,
            probabilities.astype("float64"),
            return_indices_ranked_by="self_confidence",
            n_jobs=1,
        )
    return np.asarray(likely, np.intp)


def find(
    parts: Sequence[tuple[str, Split, np.ndarray, np.ndarray]],
    classes: Sequence[str],
    each: int = A_PART,
) -> dict[str, Any] | None:
    """What evaluation.json holds as "suspects"; None without the library.

    Args:
        parts: For each part its name, its images, the positions of the examined ones, int (m,), and
            their probabilities, float (m, k).
        classes: The names of the classes.
        each: The most labels of a part that are described, the likeliest ones.

    Returns:
        `"method"`; `"parts"` with the images examined ("n") of those there are ("of"), the labels
        that the model contradicts ("wrong") and those that are likely wrong ("sure"); `"suspects"`
        with "split", "index", "file", "true" (the label), "predicted", "confidence", "quality" (the
        probability of the label) and "png", the likeliest first.
    """
    if not installed() or not parts:
        return None
    starts = np.cumsum([0, *(len(positions) for _, _, positions, _ in parts)])
    probabilities = np.concatenate([p for *_, p in parts])
    labels = np.concatenate([split.labels[positions] for _, split, positions, _ in parts])
    try:
        likely = ranked(probabilities, labels)
    except Exception as error:  # a training that ended well must not fail for it
        log.warning("no labels are ranked: cleanlab fails with %s", one_line(error))
        return None
    part_of = np.searchsorted(starts, likely, side="right") - 1
    counts, described = [], []
    for number, (name, split, positions, outputs) in enumerate(parts):
        of_part = likely[part_of == number] - starts[number]
        wrong = int((outputs.argmax(-1) != split.labels[positions]).sum())
        sizes = {"n": len(positions), "of": len(split)}
        counts.append({"split": name, **sizes, "wrong": wrong, "sure": len(of_part)})
        for i in of_part[:each].tolist():
            index = int(positions[i])
            row = rows.prediction(split, index, outputs[i], classes)
            quality = float(outputs[i, split.labels[index]])
            described.append({"split": name, **row, "quality": quality})
    described.sort(key=lambda row: row["quality"])
    return {"method": METHOD, "parts": counts, "suspects": described}
