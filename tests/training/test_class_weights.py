"""Weights of classes in the loss: balanced, or given by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reslab
from reslab import data as sets
from reslab.core.errors import UserError
from reslab.models import saved
from reslab.runs.recipe import Recipe
from reslab.spec import Conv, Dense, GlobalAvgPool, ReLU
from tests.helpers import tiny
from tests.helpers.training import RECIPE

BARE = replace(  # no batch norm, no dropout: the same function in training and in inference
    tiny.NETWORK, rows={"conv1": (Conv(8, 3), ReLU), "head": (GlobalAvgPool, Dense(3))}
)


@pytest.mark.core
def test_weights_of_classes_balanced_or_by_name(tmp_path: Path) -> None:
    """With rate 0 the logged loss is that of the first weights, weighted or not."""
    x, y = tiny.images(90, seed=0)
    keep = np.flatnonzero((y != 0) | (np.arange(90) < 30))  # 10 of class 0, 30 of 1 and of 2
    parts = {"train": (x[keep], y[keep]), "t10k": (x[:9], y[:9])}
    (tmp_path / "uneven").mkdir()
    for part, (images, labels) in parts.items():
        tiny.write_idx(tmp_path / "uneven" / f"{part}-images-idx3-ubyte", images)
        tiny.write_idx(tmp_path / "uneven" / f"{part}-labels-idx1-ubyte", labels)
    still = Recipe("still", epochs=1, batch=70, rate=0.0, schedule="constant", validation=0.0)

    def loss(out: str, **options: Any) -> float:
        run = reslab.train(BARE, tmp_path / "uneven", still, out=tmp_path / out, **options)
        return float(run.log("epoch")[0]["train_loss"])

    unweighed, weighed = loss("even"), loss("balanced", balance=True)
    by_name = loss("by-name", class_weights={"1": 5, "2": 0.5})
    data = sets.load(tmp_path / "uneven", validation=0)
    model, _ = saved.load_with_card(tmp_path / "even" / "model.keras")
    p = model.predict_on_batch(data.train.images(np.arange(70)))
    each = -np.log(p[np.arange(70), data.train.labels])
    weights = np.array([70 / 30, 70 / 90, 70 / 90])[data.train.labels]
    assert abs((each * weights).mean() - each.mean()) > 0.003  # or nothing could be told apart
    assert unweighed == pytest.approx(each.mean(), rel=1e-4)
    assert weighed == pytest.approx((each * weights).mean(), rel=1e-4)
    weights = np.array([1, 5, 0.5])[data.train.labels]
    assert by_name == pytest.approx((each * weights).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": {"4": 2}}, "no class '4'"),
        ({"class_weights": {"0": -1}}, "the weight of class 0 is -1"),
        ({"class_weights": {"0": float("nan")}}, "the weight of class 0 is nan"),
        ({"class_weights": dict.fromkeys("012", 0)}, "all classes have weight 0"),
        ({"class_weights": {"0": 2}, "balance": True}, "leave out --class-weight"),
    ],
)
def test_impossible_class_weights_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    source = tiny.folder(tmp_path / "data")
    with pytest.raises(UserError, match=message):
        reslab.train(tiny.NETWORK, source, RECIPE, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
