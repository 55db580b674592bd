"""A diverged model never looks healthy: it is not saved for others, and not used in silence.

An infinite running variance is the worst case: all outputs are finite then, on every engine.
"""

from __future__ import annotations

import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import reslab
from reslab import weights
from reslab.core.errors import UserError
from reslab.models import saved
from reslab.runs.run import Run
from tests.helpers import tiny
from tests.helpers.cli import error_of
from tests.helpers.reference import randomise

KINDS = [("kernel", np.nan), ("gamma", -np.inf), ("moving_variance", np.inf)]
NETWORK = "resnet20"


def spoil(model: keras.Model, variable: str, value: float) -> None:
    v = next(v for v in model.variables if v.name == variable)
    array = np.array(keras.ops.convert_to_numpy(v))
    array.flat[-1] = value
    v.assign(array)


def network(seed: int = 0) -> keras.Model:
    model = reslab.create(NETWORK, input_shape=(8, 8, 3))
    randomise(model, seed)
    return model


def spoilt_file(path: Path, variable: str, value: float) -> Path:
    """A file of weights as a diverged training of another program leaves it."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    weights.save(network(), path)
    arrays = load_file(path)
    name = next(name for name in arrays if name.endswith(variable))
    arrays[name].flat[-1] = value
    with safe_open(path, "np") as file:
        note = file.metadata()
    save_file(arrays, path, note)
    return path


@pytest.mark.core
@pytest.mark.parametrize(("variable", "value"), KINDS)
@pytest.mark.parametrize("suffix", ["safetensors", "weights.h5", "h5", "keras", "pth"])
def test_weights_are_not_saved_for_others(
    suffix: str, variable: str, value: float, tmp_path: Path
) -> None:
    if suffix == "pth":
        pytest.importorskip("torch")
    model = network()
    spoil(model, variable, value)
    with pytest.raises(UserError, match=r"not finite.*diverged") as error:
        weights.save(model, tmp_path / f"a.{suffix}")
    assert variable in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("variable", "value"), KINDS)
def test_files_are_not_loaded_or_converted(
    variable: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = spoilt_file(tmp_path / "a.safetensors", variable, value)
    model = network(seed=1)
    before = model.get_weights()
    message = f"a.safetensors: .*{variable} has values that are not finite"
    with pytest.raises(UserError, match=message):
        weights.load(model, file)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match=message):
        reslab.create(NETWORK, input_shape=(8, 8, 3), weights=file)
    out = tmp_path / "b.weights.h5"
    line = error_of("weights", "convert", file, out, "--to", "keras_hub")
    assert f"{variable} has values that are not finite" in line
    assert not out.exists()


def test_a_training_does_not_start_from_them(tmp_path: Path) -> None:
    file = spoilt_file(tmp_path / "a.safetensors", "moving_variance", np.inf)
    with pytest.raises(UserError, match="moving_variance has values that are not finite"):
        reslab.train(NETWORK, "glyphs", weights=file, out=tmp_path / "run", images=100)
    assert not (tmp_path / "run").exists()


def diverged_run(run: Run, folder: Path, variable: str, value: float) -> Run:
    """A copy of a run whose model file has another value, written past our checks."""
    shutil.copytree(run.path, folder)
    copy = Run.open(folder)
    with zipfile.ZipFile(copy.model_path) as file:
        card = file.read(saved.CARD)
    model = keras.saving.load_model(copy.model_path)
    spoil(model, variable, value)
    model.save(copy.model_path)
    with zipfile.ZipFile(copy.model_path, "a") as file:
        file.writestr(saved.CARD, card)
    return copy


@pytest.mark.parametrize(("variable", "value"), KINDS)
def test_runs_are_not_evaluated_and_predict_nothing(
    variable: str, value: float, trained: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = diverged_run(trained, tmp_path / "run", variable, value)
    evaluation = (run.path / "evaluation.json").read_bytes()
    with pytest.raises(UserError, match=rf"not finite \(.*{variable}\): its training diverged"):
        reslab.evaluate(run)
    assert (run.path / "evaluation.json").read_bytes() == evaluation
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8), "uint8")).save(picture)
    for engine in ("auto", "backend"):
        with pytest.raises(UserError, match="its training diverged"):
            reslab.predict(run, picture, engine=engine)
    with caplog.at_level(logging.WARNING):
        reslab.load(run.path)
    assert f"({variable}" in caplog.text or f"{variable}): its training diverged" in caplog.text


def test_a_negative_running_variance_is_refused_by_every_engine() -> None:
    """All weights are finite, but their square root is not: Keras gives NaN."""
    model = network()
    spoil(model, "moving_variance", -1.0)
    with pytest.raises(UserError, match="is not finite once batch norm is folded into it"):
        reslab.inference(model)


def test_outputs_that_are_not_finite_are_no_predictions(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8), "uint8")).save(picture)
    monkeypatch.setattr(
        "reslab.engines.inference.Inference.__call__",
        lambda self, x: np.full((len(x), tiny.CLASSES), np.nan, "float32"),
    )
    with pytest.raises(UserError, match=r"gives NaN or infinity for .*a\.png"):
        reslab.predict(trained, picture)


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused(bad: int, value: float, trained: Run) -> None:
    """Wherever they are among the others."""
    images = np.random.default_rng(0).random((3, 8, 8, 1)).astype("float32")
    images[bad, 2, 3] = value
    with pytest.raises(UserError, match="images are float32 from"):
        reslab.predict(trained, images)
    with pytest.raises(UserError, match="images are float32 from"):
        reslab.evaluate(trained, data=(images, np.zeros(3, int)))


def test_recalibration_that_diverges_fails_the_run(
    thirds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recalibrate(model: Any, *others: Any) -> int:
        spoil(model, "moving_variance", np.inf)
        return 1

    monkeypatch.setattr("reslab.training.batchnorm.recalibrate", recalibrate)
    with pytest.raises(UserError, match="the weights of run are not finite"):
        reslab.train(
            tiny.NETWORK, thirds, epochs=1, batch=16, out=tmp_path / "run", recalibrate_bn=True
        )
    run = Run.open(tmp_path / "run")
    assert run.info["status"] == "failed"
    assert not run.model_path.exists()
    assert (run.checkpoints / "last.safetensors").exists()
