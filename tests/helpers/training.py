"""A short recipe, and a bitwise comparison of two runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from reslab.core.files import read_arrays
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run

TIMES = "seconds", "images_per_second"

RECIPE = Recipe(
    "short",
    epochs=3,
    batch=16,
    rate=0.1,
    nesterov=True,
    weight_decay=1e-3,
    schedule="one-cycle",
    augment=("pad-crop(1)",),
)


def checkpoint_weights(run: Run) -> dict[str, np.ndarray]:
    """Return the arrays of the last checkpoint of a run."""
    return read_arrays(run.checkpoints / "last.safetensors")[0]


def same_bits(a: Run, b: Run) -> None:
    """Assert that two runs have bitwise equal weights, and equal epochs in their logs."""
    one, other = checkpoint_weights(a), checkpoint_weights(b)
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name
    assert timeless(a.log("epoch")) == timeless(b.log("epoch"))


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of a log without what differs between two trainings of the same bits."""
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]
