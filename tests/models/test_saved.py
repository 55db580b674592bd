"""`reslab.load`: models from files, as a process that has made none of them reads them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.models.optimizers import SGD
from reslab.runs.run import Run

ONES = np.ones((2, 32, 32, 3), "float32")
PLANNED = keras.backend.backend() == "torch"  # there a model's own call is replaced
READ = """
import sys, numpy, keras, reslab
from keras import ops
model = reslab.load(sys.argv[1])
numpy.save(sys.argv[2], ops.convert_to_numpy(model(numpy.ones((2, 32, 32, 3), "float32"))))
print(type(getattr(model, "optimizer", None)).__name__, "call" in vars(model))
"""


def afresh(file: Path) -> tuple[str, np.ndarray]:
    """What a new process says of the model in a file, and what it answers to ones."""
    out = file.with_suffix(".npy")
    command = [sys.executable, "-c", READ, str(file), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip(), np.load(out)


@pytest.mark.core
def test_stacked_and_compiled(tmp_path: Path) -> None:
    """Plain Keras would know neither the layer nor the optimiser."""
    model = reslab.create("resnet20", stacked=True)
    model.compile(SGD(0.1, momentum=0.9), "mse")
    model.save(tmp_path / "a.keras")
    said, found = afresh(tmp_path / "a.keras")
    assert said == f"SGD {PLANNED}"
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(model(ONES)), rtol=1e-5, atol=1e-6)


def test_deeper_than_python_recurses(tmp_path: Path) -> None:
    x = inputs = keras.Input((32, 32, 3))
    for _ in range(1200):
        x = keras.layers.Activation("relu")(x)
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10000))
    keras.Model(inputs, x).save(tmp_path / "deep.keras")
    assert afresh(tmp_path / "deep.keras")[0] == f"NoneType {PLANNED}"


def test_of_a_run(trained: Run) -> None:
    model = reslab.load(trained.path)
    assert model.input_shape == (None, *trained.info["data"]["image_shape"])
    assert reslab.load(trained.model_path).output_shape == model.output_shape


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no model at"):
        reslab.load(tmp_path / "none.keras")
    with pytest.raises(UserError, match="is no run"):
        reslab.load(tmp_path)
    (tmp_path / "text.keras").write_text("no archive")
    with pytest.raises(UserError, match="cannot be loaded as a model"):
        reslab.load(tmp_path / "text.keras")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w"):
        pass
    with pytest.raises(UserError, match=r"cannot be loaded as a model: .*config.json"):
        reslab.load(tmp_path / "empty.keras")
