"""Runs on data in Python: trained, stopped and resumed with the data, evaluated, predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.core.progress import Watch
from tests.helpers import tiny
from tests.helpers.training import RECIPE, same_bits

pytestmark = pytest.mark.core


def test_arrays_stopped_and_resumed_with_the_data_given_again(tmp_path: Path) -> None:
    x, y = tiny.images(96, seed=0)
    names = np.array(["left", "middle", "right"])[y]
    whole = reslab.train(tiny.NETWORK, (x, names), RECIPE, out=tmp_path / "whole")

    def stop(done: float, text: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    cut, watch = tmp_path / "cut", Watch(step=stop)
    with pytest.raises(KeyboardInterrupt):
        reslab.train(tiny.NETWORK, (x, names), RECIPE, out=cut, checkpoint_seconds=0, watch=watch)
    with pytest.raises(UserError, match="were made in Python"):
        reslab.resume(cut)
    with pytest.raises(UserError, match="was started with other data"):
        reslab.resume(cut, data=(x ^ 1, names))
    same_bits(whole, reslab.resume(cut, data=(x, names)))

    others, labels = tiny.images(30, seed=4)
    by_number = reslab.evaluate(whole, (others, labels))
    by_name = reslab.evaluate(whole, (others, np.array(["left", "middle", "right"])[labels]))
    assert by_number["confusion"] == by_name["confusion"]
    assert by_number["n"] == 30
    with pytest.raises(UserError, match="no class 'up'"):
        reslab.evaluate(whole, (others, ["up"] * 30))
    results = reslab.predict(whole, others, top=1)
    guessed = [row["predictions"][0]["class"] for row in results]
    right = sum(g == ("left", "middle", "right")[y] for g, y in zip(guessed, labels, strict=True))
    assert right == sum(by_number["confusion"][i][i] for i in range(3))
    assert reslab.predict(whole, others.astype("float32") / 255, top=1) == results
