"""Whole trainings: what a run writes, and that it can be interrupted anywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import reslab
from reslab import data as sets
from reslab.core import interrupts
from reslab.core.errors import UserError
from reslab.core.files import read_arrays
from reslab.core.progress import Watch
from reslab.models import build, saved
from reslab.runs.run import Run
from reslab.spec import Dense, GlobalAvgPool
from reslab.training.feed import feed
from reslab.zoo import network
from tests.helpers import threads, tiny
from tests.helpers.training import RECIPE, checkpoint_weights, same_bits

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("data") / "thirds")


@pytest.fixture(scope="module")
def run(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "whole"
    return reslab.train(tiny.NETWORK, source, RECIPE, out=out, keep_checkpoints=True)


def test_a_run_holds_everything(run: Run, source: Path) -> None:
    info = json.loads((run.path / "run.json").read_text())
    assert info["status"] == "done"
    assert Run.open(run.path).network == replace(tiny.NETWORK, input_shape=(8, 8, 1))
    assert info["recipe"]["name"] == "short"
    assert info["data"]["checksum"] == sets.load(source).checksum
    assert info["data"]["counts"] == {"train": 173, "validation": 19, "test": 48}
    assert info["versions"]["keras"] == keras.__version__
    assert info["machine"]["cores"] >= 1
    assert [line["epoch"] for line in run.log("epoch")] == [1, 2, 3]
    assert run.log("epoch")[-1]["step"] == 30
    assert run.evaluation is not None
    assert run.evaluation["split"] == "test"
    assert run.evaluation["n"] == 48
    assert (run.path / "report.html").stat().st_size > 1e5
    kept = sorted(path.name for path in run.checkpoints.iterdir())
    assert kept == [
        "best.safetensors",
        *(f"epoch-{i:04d}.safetensors" for i in range(4)),
        "last.safetensors",
    ]


def test_it_learns(run: Run) -> None:
    lines = run.log("epoch")
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    assert run.evaluation is not None
    assert run.evaluation["top1_error"]["value"] < 0.34  # chance is 0.67


def test_the_epoch_is_chosen_on_validation_images(run: Run) -> None:
    lines = run.log("epoch")
    best = min(lines, key=lambda line: (line["val_error"], line["val_loss"]))
    assert run.info["chosen_epoch"] == best["epoch"]
    chosen = read_arrays(run.checkpoints / f"epoch-{best['epoch']:04d}.safetensors")[0]
    model, _ = saved.load_with_card(run.model_path)
    for name, variable in build.variables(model.get_layer("tiny")).items():
        if not name.endswith("seed_generator_state"):  # Keras saves weights, not generators
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), chosen[name])


def test_the_model_is_whole(run: Run, source: Path, tmp_path: Path) -> None:
    """Raw bytes in, probabilities out, without reslab; equal to normalising by hand."""
    data = sets.load(source)
    assert data.test is not None
    x = data.test.images(np.arange(8))
    np.save(tmp_path / "x.npy", x)
    script = (
        "import keras, numpy as np, sys\n"
        "m = keras.saving.load_model(sys.argv[1])\n"
        "np.save('y.npy', m.predict_on_batch(np.load('x.npy')))\n"
        "assert 'reslab' not in sys.modules\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    subprocess.run(
        [sys.executable, "-c", script, str(run.model_path)],
        cwd=tmp_path,
        env=environment,
        check=True,
    )
    found = np.load(tmp_path / "y.npy")
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    standard, _ = read_arrays(run.path / "standardise.safetensors")
    net = keras.saving.load_model(run.model_path).get_layer("tiny")
    z = np.asarray(
        net.predict_on_batch(((x - standard["mean"]) / standard["std"]).astype("float32"))
    )
    by_hand = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


def test_the_same_seed_gives_the_same_bits_another_gives_others(
    run: Run, source: Path, tmp_path: Path
) -> None:
    again = reslab.train(tiny.NETWORK, source, RECIPE, out=tmp_path / "again")
    same_bits(run, again)
    other = reslab.train(tiny.NETWORK, source, RECIPE, out=tmp_path / "other", seed=1)
    assert any(
        (a != b).any()
        for a, b in zip(
            checkpoint_weights(run).values(), checkpoint_weights(other).values(), strict=True
        )
    )


@pytest.mark.parametrize("step", [1, 14, 20])
def test_stopped_at_any_step_and_resumed_ends_with_the_same_bits(
    run: Run, source: Path, tmp_path: Path, step: int
) -> None:
    def stop(steps: float, text: str) -> None:
        if steps == step:
            signal.raise_signal(signal.SIGINT)

    out = tmp_path / "stopped"
    with pytest.raises(interrupts.Interrupted):
        reslab.train(tiny.NETWORK, source, RECIPE, out=out, watch=Watch(step=stop))
    saved = read_arrays(out / "checkpoints" / "last.safetensors")[1]["progress"]
    assert saved["step"] == step
    assert Run.open(out).info["status"] == "running"
    same_bits(run, reslab.resume(out))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


KILLED = """
import sys
import reslab
from tests.helpers import tiny
from tests.helpers.training import RECIPE
reslab.train(tiny.NETWORK, sys.argv[1], RECIPE, out=sys.argv[2], checkpoint_seconds=0.0)
"""


def test_killed_in_the_middle_of_an_epoch_and_resumed_ends_with_the_same_bits(
    run: Run, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(source), str(out)],
        cwd=Path(__file__).parents[2],
        env=environment,
    )
    last = out / "checkpoints" / "last.safetensors"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        if last.exists() and read_arrays(last)[1]["progress"]["step"] >= 12:
            break
        time.sleep(0.002)
    child.kill()
    assert child.wait() == (1 if sys.platform == "win32" else -signal.SIGKILL)
    step = read_arrays(last)[1]["progress"]["step"]
    assert 12 <= step < 30
    same_bits(run, reslab.resume(out))
    assert [line["epoch"] for line in Run.open(out).log("epoch")] == [1, 2, 3]


def test_killed_before_the_first_checkpoint_starts_again(
    run: Run, source: Path, tmp_path: Path
) -> None:
    def stop(steps: float, text: str) -> None:
        raise KeyboardInterrupt  # as sudden as a kill, within this process

    out = tmp_path / "early"
    with pytest.raises(KeyboardInterrupt):
        reslab.train(tiny.NETWORK, source, RECIPE, out=out, watch=Watch(step=stop))
    (out / "checkpoints" / "last.safetensors").unlink()
    (out / "standardise.safetensors").unlink()
    (out / "log.jsonl").write_text('{"kind": "epoch", "epoch": 1, "val')  # a torn line
    same_bits(run, reslab.resume(out))


def test_a_finished_run_is_not_changed(run: Run) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    assert reslab.resume(run.path).info == run.info
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before


def test_other_data_or_another_network_are_refused(source: Path, tmp_path: Path) -> None:
    out, moved = tmp_path / "run", tmp_path / "moved"
    tiny.folder(moved)

    def stop(steps: float, text: str) -> None:
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(interrupts.Interrupted):
        reslab.train(tiny.NETWORK, moved, RECIPE, out=out, watch=Watch(step=stop))
    x, _ = tiny.images(192, seed=5)
    tiny.write_idx(moved / "train-images-idx3-ubyte", x)
    with pytest.raises(UserError, match="have changed since"):
        reslab.resume(out)
    tiny.folder(moved)
    info = Run.open(out).info
    wider = reslab.train(
        network("resnet20"), moved, replace(RECIPE, epochs=0.1), out=tmp_path / "wider"
    )
    (out / "run.json").write_text(json.dumps({**info, "network": wider.info["network"]}))
    with pytest.raises(UserError, match="belongs to another network"):
        reslab.resume(out)
    (out / "run.json").write_text(json.dumps({**info, "backend": "numpy"}))
    with pytest.raises(UserError, match="was started on numpy"):
        reslab.resume(out)


def test_a_loss_that_is_not_finite_stops_the_run(source: Path, tmp_path: Path) -> None:
    wild = replace(RECIPE, rate=1e30, schedule="constant", epochs=2)
    with pytest.raises(UserError, match=r"at step \d+|after step \d+") as caught:
        reslab.train(tiny.NETWORK, source, wild, out=tmp_path / "wild", checkpoint_seconds=0)
    assert "--set rate" in str(caught.value)
    run = Run.open(tmp_path / "wild")
    assert run.info["status"] == "failed"
    assert (run.path / "report.html").exists()
    for name, array in checkpoint_weights(run).items():
        assert np.isfinite(array).all(), name


class _Enough(Exception):
    pass


def test_a_training_that_is_aborted_ends_its_threads(source: Path, tmp_path: Path) -> None:
    """As `degradation --budget` does. `caught` keeps everything alive that `fit` referred to."""

    def enough(steps: float, text: str) -> None:
        if steps == 2:
            raise _Enough

    with pytest.raises(_Enough) as caught:
        reslab.train(tiny.NETWORK, source, RECIPE, out=tmp_path / "x", watch=Watch(step=enough))
    assert threads.running_workers() == []
    assert caught.traceback


def test_without_validation_images_the_last_epoch_counts(source: Path, tmp_path: Path) -> None:
    run = reslab.train(
        tiny.NETWORK, source, RECIPE, changes={"validation": 0}, epochs=1, out=tmp_path / "all"
    )
    assert run.info["chosen_epoch"] == 1
    assert run.info["data"]["counts"] == {"train": 192, "test": 48}
    assert "val_error" not in run.log("epoch")[0]


def test_auxiliary_heads_are_trained_and_then_removed(source: Path, tmp_path: Path) -> None:
    """Their loss changes the weights of the first row; the saved model does not have them."""
    aux = {"conv1": ((GlobalAvgPool, Dense(3)), 0.3)}
    net = replace(tiny.NETWORK, aux=aux)
    short = replace(RECIPE, epochs=1)
    run = reslab.train(net, source, short, out=tmp_path / "aux")
    assert Run.open(run.path).network.aux == aux
    assert {"conv1_aux_dense1/kernel", "head_dense1/kernel"} <= set(checkpoint_weights(run))
    model, _ = saved.load_with_card(run.model_path)
    assert not any("aux" in layer.name for layer in model.get_layer("tiny").layers)
    alone = reslab.train(tiny.NETWORK, source, short, out=tmp_path / "alone")
    first = "conv1_conv1/kernel"
    assert np.abs(checkpoint_weights(run)[first] - checkpoint_weights(alone)[first]).max() > 1e-4
    line = run.log("epoch")[0]
    assert line["train_loss"] < 1.3  # ln 3 = 1.1 at first: the classifier's alone, not the sum


def test_plateau_needs_and_watches_the_validation_error(source: Path, tmp_path: Path) -> None:
    plateau = replace(RECIPE, schedule="plateau", patience=1, rate=0.0, epochs=3)
    with pytest.raises(UserError, match="set validation above 0"):
        reslab.train(tiny.NETWORK, source, replace(plateau, validation=0.0), out=tmp_path / "no")
    run = reslab.train(tiny.NETWORK, source, replace(plateau, rate=1e-9), out=tmp_path / "yes")
    assert run.log("epoch")[-1]["rate"] < 1e-9


@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_balance_precision_and_channels_first(source: Path, tmp_path: Path, precision: str) -> None:
    net = replace(tiny.NETWORK, data_format="channels_first")
    short = replace(RECIPE, epochs=0.5, label_smoothing=0.1)
    run = reslab.train(net, source, short, out=tmp_path / "run", balance=True, precision=precision)
    model, card = saved.load_with_card(run.model_path)
    conv = model.get_layer("tiny").get_layer("conv1_conv1")
    assert conv.compute_dtype == {"float32": "float32", "mixed": "bfloat16"}[precision]
    assert conv.variable_dtype == "float32"
    assert model.input_shape == (None, 8, 8, 1)
    assert card["classes"] == ["0", "1", "2"]
    assert keras.config.dtype_policy().name == "float32"
    assert model.predict_on_batch(np.zeros((2, 8, 8, 1), "uint8")).dtype == np.float32


def test_a_folder_of_pictures_stopped_and_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Images are decoded by several threads, shuffled and cropped at random."""
    from PIL import Image

    x, y = tiny.images(60, seed=0)
    for i, (image, label) in enumerate(zip(x, y, strict=True)):
        path = tmp_path / "photos" / f"class {label}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((20, 24)).save(path)
    recipe = replace(
        RECIPE, epochs=2, batch=8, augment=("scale-crop(256,480)", "flip"), validation=0.2
    )

    def stop(steps: float, text: str) -> None:
        if steps == 2:
            signal.raise_signal(signal.SIGTERM)

    source = tmp_path / "photos"
    whole_run = reslab.train(tiny.NETWORK, source, recipe, out=tmp_path / "whole", size=12)
    assert whole_run.info["data"]["image_shape"] == [12, 12, 3]
    assert whole_run.info["data"]["classes"] == ["class 0", "class 1", "class 2"]
    with pytest.raises(interrupts.Interrupted):
        reslab.train(
            tiny.NETWORK,
            source,
            recipe,
            out=tmp_path / "cut",
            size=12,
            watch=Watch(step=stop),
        )
    same_bits(whole_run, reslab.resume(tmp_path / "cut"))


def test_feed_passes_batches_on_without_the_tuner() -> None:
    x, y = tiny.images(24, seed=0)
    batches = [(x[i : i + 8].astype("float32"), {"head": y[i : i + 8]}) for i in (0, 8, 16)]
    fed = feed(iter(batches))
    if keras.backend.backend() == "tensorflow":
        assert fed.options().autotune.enabled is False
        fed = fed.as_numpy_iterator()
    for (image, labels), (same, as_well) in zip(batches, fed, strict=True):
        np.testing.assert_array_equal(image, same)
        np.testing.assert_array_equal(labels["head"], as_well["head"])
