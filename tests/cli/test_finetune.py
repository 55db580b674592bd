"""`reslab train --weights`: what is printed, and what is refused."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from reslab.runs.run import Run
from tests.helpers.cli import ask, pictures, refused

pytestmark = [
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="what is printed does not depend on the backend"
    ),
    pytest.mark.usefixtures("apart"),
]


def test_train_with_weights_says_what_is_frozen() -> None:
    photos = pictures(Path("photos"), ("left", "middle"), each=9)
    first = ask("train", "tiny", "--data", photos, "--size", 8, "--epochs", 1, "--out", "first")
    assert first.code == 0, first.err
    more = pictures(Path("more"), ("left", "middle", "right"), each=9)
    common = ("train", "tiny", "--data", more, "--size", 8, "--weights", "first", "--epochs", 10)
    answer = ask(*common, "--freeze-bn", "--out", "second")
    assert answer.code == 0, answer.err
    assert "weights of first (reslab names)" in answer.err
    assert "has 2 classes, the model 3: the head (head_dense1/bias" in answer.err
    assert "steps 1 to 2 of 10 train only the head, 27 of 3,123 parameters" in answer.err
    assert "batch norm is frozen: 6 layers" in answer.err
    assert answer.err.count("the head (") == 1  # and not a second time, as a warning
    assert Run.open("second").info["recipe"]["name"] == "fine-tune"
    answer = ask(*common, "--recalibrate-bn", "--recipe", "quick", "--out", "third")
    assert answer.code == 0, answer.err
    assert "batch norm's statistics measured again on 19 training images: validation" in answer.out


def test_what_cannot_be_started_from_is_a_line_and_no_folder() -> None:
    photos = pictures(Path("photos"))
    Path("torn.safetensors").write_bytes(b"torn")
    common = ("train", "tiny", "--data", photos, "--size", 8, "--out", "out")
    assert "there is no file" in refused(*common, "--weights", "none.safetensors")
    assert "is damaged" in refused(*common, "--weights", "torn.safetensors")
    assert "is not a run" in refused(*common, "--weights", photos)
    assert "publishes no weights for tiny" in refused(*common, "--weights", "torchvision/V1")
    assert "add --weights SOURCE" in refused(*common, "--freeze-bn")
