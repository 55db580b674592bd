"""`reslab train --weights`: printed messages and errors."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from reslab.runs.run import Run
from tests.helpers.cli import error_of, invoke, pictures

pytestmark = [
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="the printed text does not depend on the backend"
    ),
    pytest.mark.usefixtures("apart"),
]


def test_train_with_weights_prints_which_layers_are_frozen() -> None:
    photos = pictures(Path("photos"), ("left", "middle"), each=9)
    first = invoke("train", "tiny", "--data", photos, "--size", 8, "--epochs", 1, "--out", "first")
    assert first.code == 0, first.err
    more = pictures(Path("more"), ("left", "middle", "right"), each=9)
    common = ("train", "tiny", "--data", more, "--size", 8, "--weights", "first", "--epochs", 10)
    answer = invoke(*common, "--freeze-bn", "--out", "second")
    assert answer.code == 0, answer.err
    assert "weights of first (reslab names)" in answer.err
    assert "has 2 classes, the model 3: the head (head_dense1/bias" in answer.err
    assert "steps 1 to 2 of 10 train only the head, 27 of 3,123 parameters" in answer.err
    assert "batch norm is frozen: 6 layers" in answer.err
    assert answer.err.count("the head (") == 1  # the line is not repeated as a warning
    assert Run.open("second").info["recipe"]["name"] == "fine-tune"
    answer = invoke(*common, "--recalibrate-bn", "--recipe", "quick", "--out", "third")
    assert answer.code == 0, answer.err
    assert "batch norm's statistics measured again on 21 training images: validation" in answer.out


def test_unusable_weights_are_a_one_line_error_and_no_folder() -> None:
    photos = pictures(Path("photos"))
    Path("damaged.safetensors").write_bytes(b"damaged")
    common = ("train", "tiny", "--data", photos, "--size", 8, "--out", "out")
    assert "there is no file" in error_of(*common, "--weights", "none.safetensors")
    assert "is damaged" in error_of(*common, "--weights", "damaged.safetensors")
    assert "is not a run" in error_of(*common, "--weights", photos)
    assert "publishes no weights for tiny" in error_of(*common, "--weights", "torchvision/V1")
    assert "add --weights SOURCE" in error_of(*common, "--freeze-bn")
