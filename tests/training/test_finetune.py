"""Fine-tuning: which weights are used, what is frozen and when, and batch norm's options."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import reslab
from reslab import zoo
from reslab.core import interrupts
from reslab.core.errors import UserError
from reslab.core.files import read_arrays
from reslab.core.progress import Watch
from reslab.data import Normalization
from reslab.data.dataset import ArraySplit
from reslab.models import build, saved
from reslab.runs.papers import recipe
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import BN, Conv, Dense, GlobalAvgPool, Network, ReLU
from reslab.training import batchnorm
from reslab.training import finetune as finetuning
from reslab.weights import files, registry
from reslab.weights.preprocessing import Preprocessing
from tests.helpers import tiny

pytestmark = pytest.mark.core

SHORT = Recipe("short", epochs=1, batch=32, rate=0.05, weight_decay=1e-2, schedule="constant")
FINE = replace(SHORT, head_first=0.5, row_decay=0.5)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only the first two classes of `thirds`."""
    at = tmp_path_factory.mktemp("pairs") / "pairs"
    at.mkdir()
    for part, n, seed in (("train", 96, 3), ("t10k", 48, 4)):
        x, y = tiny.images(n, seed)
        tiny.write_idx(at / f"{part}-images-idx3-ubyte", x[y < 2])
        tiny.write_idx(at / f"{part}-labels-idx1-ubyte", y[y < 2])
    return at


def arrays(run: Run, name: str = "last") -> dict[str, np.ndarray]:
    return read_arrays(run.checkpoints / f"{name}.safetensors")[0]


def notes(run: Run) -> str:
    return "\n".join(line["text"] for line in run.log("note"))


def watched(seen: dict[int, dict[str, np.ndarray]], out: Path) -> Watch:
    """Record the state after every step, from checkpoints that are written after each."""

    def step(steps: float, text: str) -> None:
        path = out / "checkpoints" / "last.safetensors"
        if read_arrays(path)[1]["progress"]["step"] == steps - 1:
            seen[int(steps) - 1] = read_arrays(path)[0]

    return Watch(step=step)


def test_the_head_is_trained_first_and_the_source_is_recorded(
    trained: Run, pairs: Path, tmp_path: Path
) -> None:
    seen: dict[int, dict[str, np.ndarray]] = {}
    out = tmp_path / "fine"
    run = reslab.train(
        tiny.NETWORK,
        pairs,
        replace(FINE, epochs=4, batch=16),
        weights=trained.path,
        out=out,
        checkpoint_seconds=0.0,
        watch=watched(seen, out),
    )
    given = arrays(trained, "best")
    first, half, last = seen[0], seen[6], arrays(run)
    assert run.log("epoch")[-1]["step"] == 12  # 58 images: 3 steps an epoch
    body = [n for n in given if not n.startswith("head") and n.endswith(("kernel", "gamma"))]
    for name in body:
        np.testing.assert_array_equal(first[name], given[name])
        np.testing.assert_array_equal(half[name], given[name])  # no decay either
        assert (last[name] != given[name]).any()
    assert (half["head_dense1/kernel"] != first["head_dense1/kernel"]).any()
    assert half["head_dense1/kernel"].shape[-1] == 2
    velocities = [n for n in half if n.startswith("optimizer/") and "momentum" in n]
    assert sum(bool((half[n] != 0).any()) for n in velocities) == 2  # kernel and bias of the head
    # the statistics of batch norm follow the new images from the start
    assert (half["conv1_bn1/moving_mean"] != given["conv1_bn1/moving_mean"]).any()

    said = notes(run)
    assert "has 3 classes, the model 2: the head (head_dense1/bias, head_dense1/kernel)" in said
    assert "steps 1 to 6 of 12 train only the head, 18 of 3,066 parameters" in said
    assert "conv1 x0.125, conv2_x x0.25, conv3_x x0.5, head x1" in said
    info = run.info["weights"]
    assert info["source"] == str(trained.path)
    assert (info["scheme"], info["network"]) == ("reslab", "tiny")
    assert len(info["sha256"]) == 64
    ours, theirs = (
        read_arrays(r.path / "standardise.safetensors")[0]["mean"] for r in (run, trained)
    )
    np.testing.assert_allclose(ours, theirs)
    assert "normalised with the mean and std of the pretrained weights" in said


def test_the_source_may_be_gone_when_a_run_is_resumed(
    trained: Run, pairs: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "source"
    shutil.copytree(trained.path, copy)

    def go(name: str, stop: int) -> Run:
        def step(steps: float, text: str) -> None:
            if steps == stop:
                signal.raise_signal(signal.SIGINT)

        return reslab.train(
            tiny.NETWORK,
            pairs,
            replace(FINE, epochs=3),
            weights=copy / "model.keras",
            out=tmp_path / name,
            watch=Watch(step=step),
        )

    unbroken = go("unbroken", -1)
    with pytest.raises(interrupts.Interrupted):
        go("broken", 2)
    shutil.rmtree(copy)
    resumed = reslab.resume(tmp_path / "broken")
    one, other = arrays(unbroken), arrays(resumed)
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    (tmp_path / "broken" / "checkpoints" / "last.safetensors").unlink()
    resumed.save(status="running")
    with pytest.raises(UserError, match="killed before its weights were in it"):
        reslab.resume(resumed.path)


def test_what_does_not_fit_leaves_no_folder(
    trained: Run, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(words: str, weights: Path, net: Network = tiny.NETWORK, **options: object) -> None:
        out = tmp_path / "out"
        with pytest.raises(UserError, match=words):
            reslab.train(net, pairs, SHORT, weights=weights, out=out, **options)  # type: ignore[arg-type]
        assert not out.exists()

    refused("there is no file", tmp_path / "no.safetensors")
    refused("is not a run", tmp_path)
    (tmp_path / "torn.keras").write_bytes((trained.path / "model.keras").read_bytes()[:2000])
    refused("is not a .keras file, or is damaged", tmp_path / "torn.keras")
    refused("belongs to tiny, not to resnet20", trained.path, zoo.network("resnet20"))
    wide = replace(tiny.NETWORK, rows={**tiny.NETWORK.rows, "conv1": (Conv(9, 3), BN(), ReLU)})
    refused(r"belongs to|is \(3, 3, 1, 8\) in the file", trained.path, wide)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(trained.path, unfinished, ignore=shutil.ignore_patterns("model.keras"))
    refused("has no model yet", unfinished)
    refused("replaces them", trained.path, freeze_bn=True, recalibrate_bn=True)
    with pytest.raises(UserError, match="add --weights SOURCE"):
        reslab.train(tiny.NETWORK, pairs, SHORT, freeze_bn=True, out=tmp_path / "out")


def test_the_head_of_a_run_with_other_classes_is_not_used(
    trained: Run, thirds: Path, tmp_path: Path
) -> None:
    start = finetuning.start(trained.path, tiny.NETWORK)
    same, other = (build.create(tiny.NETWORK) for _ in range(2))
    fresh = keras.ops.convert_to_numpy(other.get_layer("head_dense1").kernel)
    assert start.fill(same, tiny.NETWORK, ["0", "1", "2"]) == []
    (words,) = start.fill(other, tiny.NETWORK, ["a", "b", "c"])
    assert "has other classes: the head (head_dense1) is initialised" in words
    given = arrays(trained, "best")
    head = keras.ops.convert_to_numpy(same.get_layer("head_dense1").kernel)
    np.testing.assert_array_equal(head, given["head_dense1/kernel"])
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(other.get_layer("head_dense1").kernel), fresh
    )
    kernel = keras.ops.convert_to_numpy(other.get_layer("conv1_conv1").kernel)
    np.testing.assert_array_equal(kernel, given["conv1_conv1/kernel"])


def test_frozen_batch_norm_stays_in_training_and_the_file_is_a_stock_model(
    trained: Run, pairs: Path, tmp_path: Path
) -> None:
    run = reslab.train(
        tiny.NETWORK, pairs, SHORT, weights=trained.path, freeze_bn=True, out=tmp_path / "frozen"
    )
    given, last = arrays(trained, "best"), arrays(run)
    held = [n for n in given if "bn" in n]
    assert len(held) == 4 * 6
    for name in held:
        np.testing.assert_array_equal(last[name], given[name])
    assert (last["conv1_conv1/kernel"] != given["conv1_conv1/kernel"]).any()
    assert "6 layers keep their running mean and variance and their 96 scales and shifts" in notes(
        run
    )
    assert "2,970 other parameters are trained" in notes(run)
    model = keras.saving.load_model(run.model_path)
    assert all(layer.trainable for layer in model.get_layer("tiny").layers)


def test_a_whole_model_of_published_weights_is_right_in_rgb(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BGR weights with their own mean: the untrained model equals preprocessing by hand."""
    net = replace(tiny.NETWORK, input_shape=(8, 8, 3))
    source = build.create(net)
    how = Preprocessing(size=8, mean=(103.0, 116.0, 123.0), std=(1.0, 2.0, 3.0), order="bgr")
    reslab.weights.save(source, tmp_path / "w.safetensors")
    contents = files.read(tmp_path / "w.safetensors")
    contents.note["preprocessing"] = how.encode()
    files.write(tmp_path / "w.safetensors", contents.arrays, contents.note)
    start = finetuning.start(tmp_path / "w.safetensors", net)
    model = build.create(net)
    start.fill(model, net, ["0", "1", "2"])
    standard = start.normalization((8, 8, 3))
    assert standard is not None
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype("uint8")
    made = saved.end_to_end(model, (8, 8, 3), standard.mean, standard.std)
    z = np.asarray(source.predict_on_batch(how.normalise(x)), "float64")
    wanted = np.exp(z - z.max(-1, keepdims=True))
    wanted /= wanted.sum(-1, keepdims=True)
    np.testing.assert_allclose(np.asarray(made.predict_on_batch(x)), wanted, atol=1e-5)
    assert start.normalization((8, 8, 1)) is None


def test_the_library_variant_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = zoo.network("keras_resnet50")
    fake = registry.Published(
        "keras/imagenet",
        theirs.name,
        "keras",
        None,
        "",
        Preprocessing(),
        None,  # type: ignore[arg-type]
    )
    (tmp_path / "w.h5").write_bytes(b"")
    contents = files.Contents(tmp_path / "w.h5", {})
    monkeypatch.setattr(registry, "find", lambda network, name: fake)
    monkeypatch.setattr(registry, "contents", lambda found: contents)
    start = finetuning.start("keras/imagenet", zoo.network("resnet50"))
    assert (start.network.name, start.scheme) == ("keras_resnet50", "keras")


# Recalibration ----------------------------------------------------------------------------------

ONE_BN = Network(
    "one",
    {"conv1": (Conv(4, 3), BN(), ReLU), "head": (GlobalAvgPool, Dense(2))},
    (6, 6, 1),
)


def test_images_in_class_order_give_the_statistics_of_shuffled_ones() -> None:
    """After a batch norm that normalises by the batch, batches of one class would differ."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 64)
    x = (
        rng.integers(0, 64, (256, 6, 6, 1))
        + 60 * labels[:, None, None, None] * (np.arange(6) < 3)[:, None]
    )
    rows = {"conv1": (Conv(4, 3), BN(), ReLU, Conv(4, 3), BN()), "head": (GlobalAvgPool, Dense(2))}
    model = build.create(Network("two", rows, (6, 6, 1)))
    found = []
    for batch in (256, 64):
        split = ArraySplit.of(x.astype("uint8"), labels)
        batchnorm.recalibrate(model, split, batch=batch)
        bn = model.get_layer("conv1_bn2")
        found.append(np.sqrt(keras.ops.convert_to_numpy(bn.moving_variance)))
    whole, parts = found
    np.testing.assert_allclose(parts, whole, rtol=0.01)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_statistics_are_those_of_all_images(data_format: str) -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(1, 256, (101, 1, 1, 1))  # batches differ: a mean of variances is not it
    x = rng.integers(0, levels, (101, 6, 6, 1)).astype("uint8")
    split = ArraySplit.of(x, np.zeros(101, int))
    standard = Normalization(np.full((1, 1, 1), 100, "f4"), np.full((1, 1, 1), 50, "f4"))
    model = build.create(replace(ONE_BN, data_format=data_format))
    bn = model.get_layer("conv1_bn1")
    assert batchnorm.recalibrate(model, split, standard, batch=16) == 1
    first = model.get_layer("conv1_conv1").output
    fed = standard(x)
    if model.input_shape[1:] != (6, 6, 1):
        fed = fed.transpose(0, 3, 1, 2)
    maps = np.asarray(keras.Model(model.input, first).predict_on_batch(fed), "float64")
    axes = (0, 2, 3) if maps.shape[1] == 4 else (0, 1, 2)
    for found, wanted in (
        (bn.moving_mean, maps.mean(axes)),
        (bn.moving_variance, maps.var(axes)),
    ):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), wanted, rtol=2e-5, atol=1e-6)
    assert (bn.momentum, bn.trainable) == (BN().momentum, True)


def test_a_run_is_evaluated_after_recalibration(thirds: Path, tmp_path: Path) -> None:
    run = reslab.train(
        tiny.NETWORK, thirds, SHORT, recalibrate_bn=True, out=tmp_path / "recalibrated"
    )
    found = run.info["recalibration"]
    assert (found["layers"], found["images"]) == (6, 173)
    assert run.evaluation is not None
    model = keras.saving.load_model(run.model_path).get_layer("tiny")
    own = build.variables(model)
    kept = arrays(run, "best")
    mean = keras.ops.convert_to_numpy(own["conv1_bn1/moving_mean"])
    assert (mean != kept["conv1_bn1/moving_mean"]).any()
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(own["conv1_conv1/kernel"]), kept["conv1_conv1/kernel"]
    )


def test_without_batch_norm_there_is_nothing_to_measure() -> None:
    plain = replace(ONE_BN, rows={**ONE_BN.rows, "conv1": (Conv(4, 3), ReLU)})
    split = ArraySplit.of(np.zeros((3, 6, 6, 1), "uint8"), np.zeros(3, int))
    assert batchnorm.recalibrate(build.create(plain), split) == 0


def test_auxiliary_heads_are_treated_like_the_head() -> None:
    net = replace(tiny.NETWORK, aux={"conv1": ((GlobalAvgPool, Dense(3)), 0.3)})
    model = build.create(net, aux=True)
    multipliers = finetuning.multipliers(FINE, net, model, 10)
    assert multipliers is not None
    names = {id(v): name for name, v in build.variables(model).items()}
    late = {
        names[id(v)]: x for v, x in zip(model.trainable_variables, multipliers.late, strict=True)
    }
    assert [n for n, x in late.items() if not x] == [
        f"{layer}_dense1/{v}"
        for layer in dict.fromkeys(n.split("_dense1")[0] for n in late if "dense1" in n)
        for v in ("kernel", "bias")
    ]
    assert {n for n, x in late.items() if not x} >= {"conv1_aux_dense1/bias", "head_dense1/kernel"}


def test_fine_tune_is_the_default_recipe_with_weights(
    trained: Run, pairs: Path, tmp_path: Path
) -> None:
    run = reslab.train(
        tiny.NETWORK, pairs, weights=trained.path, epochs=0.5, out=tmp_path / "named"
    )
    assert run.info["recipe"]["name"] == "fine-tune"
    assert json.loads((run.path / "run.json").read_text())["weights"]["classes"] == ["0", "1", "2"]
    assert 0 < recipe("fine-tune").head_first < 1
    with pytest.raises(UserError, match="head_first is a fraction"):
        replace(SHORT, head_first=1.5)
    with pytest.raises(UserError, match="row_decay"):
        replace(SHORT, row_decay=0)


@pytest.mark.slow
def test_few_letters_are_learned_better_from_pretrained_weights(tmp_path: Path) -> None:
    """The measurement of bench/finetune.py, with another sample and less pretraining.

    From scratch by the best rate that was found there, from weights by the recipe as it is.
    """
    if keras.backend.backend() != "torch":
        pytest.skip("the optimiser is tested on every backend; learning takes its time on one")
    from bench import finetune

    glyphs = reslab.data.load("glyphs")
    known = finetune.few(glyphs, finetune.GIVEN, 200, 20, draw=0, test=False)
    reslab.train("resnet20", known, "quick", epochs=1, out=tmp_path / "known")
    few = finetune.few(glyphs, finetune.NEW, finetune.EACH, finetune.VALIDATION, 7, test=True)
    how: dict = {"epochs": finetune.EPOCHS, "batch": finetune.BATCH, "seed": 7}
    scratch = reslab.train(
        "resnet20", few, "quick", changes={"rate": 0.2}, out=tmp_path / "scratch", **how
    )
    fine = reslab.train("resnet20", few, weights=tmp_path / "known", out=tmp_path / "fine", **how)
    assert scratch.evaluation is not None
    assert fine.evaluation is not None
    assert fine.evaluation["top1_error"]["high"] < scratch.evaluation["top1_error"]["low"]
