"""`reslab.load` in a process that has not built the models."""

from __future__ import annotations

import logging
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
from tests.helpers.odd_nets import ODD, RARE

ONES = np.ones((2, 32, 32, 3), "float32")
REPLACES_CALL = keras.backend.backend() == "torch"  # acceleration replaces the model's call
READ = """
import sys, numpy, keras, reslab
from keras import ops
model = reslab.load(sys.argv[1])
numpy.save(sys.argv[2], ops.convert_to_numpy(model(numpy.ones((2, 32, 32, 3), "float32"))))
print(type(getattr(model, "optimizer", None)).__name__, "call" in vars(model))
"""


def load_in_new_process(file: Path) -> tuple[str, np.ndarray]:
    """Return the optimiser with whether `call` is replaced, and the outputs for images of ones."""
    out = file.with_suffix(".npy")
    command = [sys.executable, "-c", READ, str(file), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip(), np.load(out)


@pytest.mark.core
def test_a_stacked_and_compiled_model(tmp_path: Path) -> None:
    """Its layers and its optimiser are registered by reslab."""
    model = reslab.create("resnet20", stacked=True)
    model.compile(SGD(0.1, momentum=0.9), "mse")
    model.save(tmp_path / "a.keras")
    state, outputs = load_in_new_process(tmp_path / "a.keras")
    assert state == f"SGD {REPLACES_CALL}"
    expected = keras.ops.convert_to_numpy(model(ONES))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


PLAIN = """
import sys
sys.modules["reslab"] = None
import keras, numpy
for file in sys.argv[1:]:
    model = keras.saving.load_model(file)
    images = numpy.ones((2, *model.input_shape[1:]), "float32")
    numpy.save(file + ".npy", keras.ops.convert_to_numpy(keras.tree.flatten(model(images))[0]))
"""


@pytest.mark.core
def test_every_part_opens_in_plain_keras(tmp_path: Path) -> None:
    """In a process without reslab, with the same outputs."""
    models = {net.name: reslab.create(net, aux=True) for net in (ODD, RARE)}
    models["googlenet_2014"] = reslab.create("googlenet_2014", 4, input_shape=(96, 96, 3))
    models["nchw"] = reslab.create(RARE, input_shape=(3, 33, 30))
    files = []
    for name, model in models.items():
        files.append(f"{tmp_path / name}.keras")
        model.save(files[-1])
    subprocess.run([sys.executable, "-c", PLAIN, *files], check=True)
    for file, model in zip(files, models.values(), strict=True):
        images = np.ones((2, *model.input_shape[1:]), "float32")
        expected = keras.ops.convert_to_numpy(keras.tree.flatten(model(images))[0])
        np.testing.assert_allclose(np.load(f"{file}.npy"), expected, rtol=1e-4, atol=1e-6)


def test_a_model_deeper_than_the_recursion_limit(tmp_path: Path) -> None:
    x = inputs = keras.Input((32, 32, 3))
    for _ in range(1200):
        x = keras.layers.Activation("relu")(x)
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10000))
    keras.Model(inputs, x).save(tmp_path / "deep.keras")
    assert load_in_new_process(tmp_path / "deep.keras")[0] == f"NoneType {REPLACES_CALL}"


def test_the_model_of_a_run(trained: Run) -> None:
    model = reslab.load(trained.path)
    assert model.input_shape == (None, *trained.info["data"]["image_shape"])
    assert reslab.load(trained.model_path).output_shape == model.output_shape


def test_errors_for_files_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no model at"):
        reslab.load(tmp_path / "none.keras")
    with pytest.raises(UserError, match="is not a run"):
        reslab.load(tmp_path)
    (tmp_path / "text.keras").write_text("no archive")
    with pytest.raises(UserError, match="cannot be loaded as a model"):
        reslab.load(tmp_path / "text.keras")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w"):
        pass
    with pytest.raises(UserError, match=r"cannot be loaded as a model: .*config.json"):
        reslab.load(tmp_path / "empty.keras")


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
def test_older_files_of_whole_models(suffix: str, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, name="out")])
    model.compile("sgd", "mse")
    logging.getLogger("absl").setLevel(logging.ERROR)
    model.save(tmp_path / f"a{suffix}")
    loaded = reslab.load(tmp_path / f"a{suffix}")
    x = np.ones((2, 8), "float32")
    np.testing.assert_array_equal(loaded.predict_on_batch(x), model.predict_on_batch(x))
    assert loaded.classes == ()
    with pytest.raises(UserError, match="reslab did not train"):
        loaded.preprocess(x)


def test_files_of_weights_are_named_as_such(tmp_path: Path) -> None:
    model = reslab.create("resnet20")
    for name in ("a.safetensors", "a.h5", "a.weights.h5"):
        reslab.weights.save(model, tmp_path / name)
        with pytest.raises(UserError, match=rf'weights.*reslab.create\(NAME, weights="{name}"\)'):
            reslab.load(tmp_path / name)


def test_a_saved_model_of_tensorflow_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(UserError, match=r"SavedModel of TensorFlow.*save it as \.keras"):
        reslab.load(tmp_path)
