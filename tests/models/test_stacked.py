"""Stacked models have the function, names and weights of flat models."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given

import reslab
from reslab import weights
from reslab.core.errors import UserError
from reslab.core.files import read_arrays
from reslab.models import stacked
from reslab.models.build import create, variables
from reslab.spec import (
    BN,
    Conv,
    Dense,
    GlobalAvgPool,
    Network,
    ReLU,
    Repeat,
    Residual,
    serialize,
    stacks,
    walk,
)
from reslab.spec.transforms import plain, stochastic
from reslab.training import memory
from reslab.training.batchnorm import freeze_bn, recalibrate
from reslab.training.setup import precision
from reslab.zoo import network
from tests.helpers import tiny
from tests.helpers.random_nets import few, networks
from tests.helpers.reference import forward, randomise
from tests.helpers.stacked_nets import SMALL, X, build, close, same, values

DROPPING = stochastic(
    Network(
        "d",
        {
            "conv1": (Conv(4, 3), BN()),
            "a": Repeat(Residual((Conv(4, 3), BN(), ReLU), ()), 4),
            "head": (GlobalAvgPool, Dense(3)),
        },
        (6, 6, 2),
    ),
    0.4,
)
Y = np.arange(6) % 3
OPTIONS = [{"stacked": True}, {"stacked": True, "remat": True}]


@pytest.mark.core
@pytest.mark.parametrize("options", OPTIONS, ids=["stacked", "remat"])
@pytest.mark.parametrize("net", [SMALL, DROPPING], ids=lambda net: net.name)
def test_training_equals_that_of_the_flat_net(net: Network, options: dict[str, bool]) -> None:
    """Equal initial weights, gradients, running statistics and dropout masks in three steps."""
    flat, model = build(net), build(net, **options)
    assert stacked.holders(model)
    assert not any(
        layer.name in dict.fromkeys(x.path for x in walk(net)) for layer in stacked.holders(model)
    )
    before = values(model)
    same(before, values(flat))
    losses = [[float(m.train_on_batch(X, Y)) for _ in range(3)] for m in (flat, model)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    after = values(model)
    close(after, values(flat))
    for name, array in after.items():  # the running statistics and all weights have changed
        assert not np.array_equal(array, before[name]) or name.endswith("bias"), name
    close({"y": model.predict_on_batch(X)}, {"y": flat.predict_on_batch(X)})


@pytest.mark.core
def test_running_statistics_are_updated_once_per_step_with_remat() -> None:
    model = build(SMALL, stacked=True, remat=True)
    norm = variables(model)["b_2_body_bn1/moving_variance"]
    assert norm.numpy() == pytest.approx(np.ones(4))
    model.train_on_batch(X, Y)
    flat = build(SMALL)
    flat.train_on_batch(X, Y)
    close({"v": norm.numpy()}, {"v": values(flat)["b_2_body_bn1/moving_variance"]})


@pytest.mark.core
def test_outputs_equal_a_numpy_forward_pass() -> None:
    """The NumPy forward pass reads the weights of each layer by its flat name."""
    model = create(SMALL, data_format="channels_last", stacked=True)
    weights = randomise(model)
    close({"y": model.predict_on_batch(X)}, {"y": forward(walk(SMALL), weights, X)})


@pytest.mark.core
def test_saves_loads_and_clones(tmp_path: Path) -> None:
    model = build(DROPPING, stacked=True, remat=True)
    model.train_on_batch(X, Y)
    model.save(tmp_path / "model.keras")
    again = reslab.accelerate(keras.saving.load_model(tmp_path / "model.keras"))
    same(values(again), values(model))
    np.testing.assert_array_equal(again.predict_on_batch(X), model.predict_on_batch(X))
    clone = reslab.accelerate(keras.models.clone_model(model))
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict_on_batch(X), model.predict_on_batch(X))
    assert all(layer.remat for each in (again, clone) for layer in stacked.holders(each))
    losses = [float(m.train_on_batch(X, Y)) for m in (again, model)]
    assert (
        losses[0] == losses[1]
    )  # the states of the optimiser and of the random generators were saved


@pytest.mark.parametrize("ending", [".safetensors", ".weights.h5", ".h5", ".pth", ".keras"])
def test_weight_files_fit_flat_and_stacked_models(ending: str, tmp_path: Path) -> None:
    flat, model = create(SMALL), create(SMALL, stacked=True)
    randomise(model)
    weights.save(model, tmp_path / f"a{ending}")
    weights.load(flat, tmp_path / f"a{ending}", network=SMALL)
    before = {k: v for k, v in values(model).items() if "seed" not in k}
    same({k: v for k, v in values(flat).items() if "seed" not in k}, before)
    weights.save(flat, tmp_path / f"b{ending}")
    randomise(model, 1)
    weights.load(model, tmp_path / f"b{ending}", network=SMALL)
    same({k: v for k, v in values(model).items() if "seed" not in k}, before)


@pytest.mark.core
@given(networks())
@few
def test_any_network_can_be_stacked(net: Network) -> None:
    flat = create(net, data_format="channels_last")
    model = create(net, data_format="channels_last", stacked=True)
    weights = randomise(flat)
    assert {k for k in variables(model) if "seed" not in k} == weights.keys()
    stacked.assign(variables(model), weights)
    x = np.random.default_rng(0).normal(size=(2, *net.input_shape)).astype("float32")
    close({"y": model.predict_on_batch(x)}, {"y": flat.predict_on_batch(x)})


@given(networks())
@few
def test_stacks_survive_json_and_have_the_paths_of_their_layers(net: Network) -> None:
    by_path = {layer.path: layer for layer in walk(net)}
    for stack in stacks.stacks(net):
        assert stacks.decode(json.loads(json.dumps(stack.encode()))) == stack
        for unit in stack.paths:
            for path, (leaf, _, _) in zip(unit, stack.leaves, strict=True):
                assert type(by_path.pop(path).part) is type(leaf)


def test_which_units_are_stacked() -> None:
    def units(net: Network) -> list[tuple[str, int]]:
        return [(stack.name, stack.times) for stack in stacks.stacks(net)]

    assert units(network("resnet1001_v2")) == [
        ("conv2_x_units2_to_111", 110),
        ("conv3_x_units2_to_111", 110),
        ("conv4_x_units2_to_111", 110),
    ]
    thousand = stochastic(network("resnet1001_v2"))
    assert units(thousand) == units(network("resnet1001_v2"))
    assert all(len(set(stack.rates[0])) == 110 for stack in stacks.stacks(thousand))
    assert [n for _, n in units(plain(network("resnet1202")))] == [199, 199, 199]
    assert units(network("densenet121")) == []  # its layers widen
    assert serialize.decode_network(serialize.encode_network(thousand)) == thousand


@pytest.mark.core
def test_mixed_precision() -> None:
    with precision("mixed"):
        flat, model = build(SMALL), build(SMALL, stacked=True, remat=True)
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    randomise(flat)
    stacked.assign(variables(model), values(flat))
    assert model.output.dtype == "bfloat16"
    a, b = (np.asarray(m.predict_on_batch(X), "float32") for m in (model, flat))
    assert np.abs(a - b).max() <= 2**-6 * np.abs(b).max()  # bfloat16 has 8 bits
    assert np.isfinite(float(model.train_on_batch(X, Y)))


@pytest.mark.core
def test_frozen_layers_do_not_change(tmp_path: Path) -> None:
    model = build(SMALL, stacked=True)
    norms = [k for k in variables(model) if "_bn" in k]
    freeze_bn(model)
    model.compile("sgd", model.loss)
    before = values(model)
    model.train_on_batch(X, Y)
    after = values(model)
    same({k: after[k] for k in norms}, {k: before[k] for k in norms})
    assert not np.array_equal(after["b_2_body_conv1/kernel"], before["b_2_body_conv1/kernel"])
    clone = keras.models.clone_model(model)
    assert len(clone.trainable_variables) == len(model.trainable_variables)
    freeze_bn(model, False)
    count = len(model.trainable_variables)
    assert count == len(build(SMALL, stacked=True).trainable_variables)
    model.trainable = False
    assert not model.trainable_variables
    assert not any(x.trainable for h in stacked.holders(model) for x in h.template_layers)


def test_recalibration_measures_every_layer() -> None:
    from reslab.data.dataset import ArraySplit

    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 1)).astype("uint8")
    split = ArraySplit.of(images, np.arange(40) % 3)
    net = Network("n", SMALL.rows, (6, 6, 1))
    flat, model = build(net), build(net, stacked=True)
    assert recalibrate(flat, split, batch=20) == recalibrate(model, split, batch=20) > 5
    close(values(model), values(flat))


def test_options_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="needs stacked=True"):
        create("resnet20", remat=True)
    with pytest.raises(UserError, match="does not go with --flat"):
        memory.choose(network("resnet20"), 8, 4, stacked=False, remat=True)
    with pytest.raises(UserError, match="not the description of stacked units"):
        stacks.decode({"unit": []})


def test_a_training_chooses_by_depth_and_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free", lambda: 1000.0)
    assert memory.choose(network("resnet20"), 128, 4) == memory.Building()
    deep = memory.choose(network("resnet1001_v2"), 16, 4)
    assert (deep.stacked, deep.remat) == (True, False)
    assert "330 of its units are stacked in 3 layers" in deep.note
    monkeypatch.setattr(memory, "_free", lambda: 4.0)
    short = memory.choose(network("resnet1001_v2"), 16, 4)
    assert (short.stacked, short.remat) == (True, True)
    assert "4.0 are free" in short.note
    assert memory.choose(network("resnet1001_v2"), 16, 4, stacked=False) == memory.Building()


@pytest.mark.core
def test_a_gpu_s_own_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyTorch and JAX tell it."""
    monkeypatch.setattr(
        memory.environment, "machine", lambda backend: {"gpu": "a GPU", "memory_gib": 64.0}
    )
    free, whole = 3 * 2**30, 8 * 2**30
    if keras.backend.backend() == "torch":
        torch = pytest.importorskip("torch")
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, whole))
    elif keras.backend.backend() == "jax":
        jax = pytest.importorskip("jax")
        stats = {"bytes_limit": whole, "bytes_in_use": whole - free}
        device = SimpleNamespace(memory_stats=lambda: stats)
        monkeypatch.setattr(jax, "local_devices", lambda: [device])
    else:
        assert memory.choose(network("resnet1001_v2"), 16, 4).remat is False
        return
    assert "and 3.0 are free" in memory.choose(network("resnet1001_v2"), 16, 4).note


def test_a_stopped_training_resumes_to_the_same_weights(thirds: Path, tmp_path: Path) -> None:
    from reslab.core.interrupts import Interrupted
    from reslab.core.progress import Watch

    def stop(line: object) -> None:
        raise Interrupted

    options = {"epochs": 2, "batch": 16, "stacked": True, "remat": True, "keep_checkpoints": True}
    whole = reslab.train(tiny.NETWORK, thirds, out=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        reslab.train(tiny.NETWORK, thirds, out=tmp_path / "cut", watch=Watch(epoch=stop), **options)
    cut = reslab.resume(tmp_path / "cut")
    for name in ("epoch-0001", "epoch-0002", "last"):
        a, b = (read_arrays(r.checkpoints / f"{name}.safetensors")[0] for r in (cut, whole))
        same(a, b)
    assert any("are stacked in" in line["text"] for line in cut.log("note"))
    model = keras.saving.load_model(cut.model_path)
    assert not stacked.holders(model)  # the network is not deep, so the file has stock layers


@pytest.mark.core
@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="only JAX replaces convolutions in loops"
)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [1, 3, (2, 5)])
def test_a_convolution_in_a_loop_equals_that_of_keras(size: object, padding: str) -> None:
    """Equal values, gradients, and gradients of the squared gradients."""
    import jax

    from reslab.acceleration.jax_rules import loop_convolution

    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 7, 3)).astype("float32")
    layer = keras.layers.Conv2D(4, size, padding=padding)
    layer.build(x.shape)
    kernel = layer.kernel.numpy()

    def gradients(convolution) -> list:
        def loss(*args):
            return (convolution(*args) ** 3).sum()

        def squared_gradients(*args):
            return sum((g**2).sum() for g in jax.grad(loss, (0, 1))(*args))

        first, second = (jax.grad(f, (0, 1))(x, kernel) for f in (loss, squared_gradients))
        return [convolution(x, kernel), *first, *second]

    results = gradients(loop_convolution(layer))
    for ours, theirs in zip(results, gradients(layer.convolution_op), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.core
def test_only_layers_in_loops_are_replaced_and_undo_restores_them() -> None:
    flat, deep = (reslab.create(network("resnet20"), stacked=value) for value in (False, True))
    inner = [layer for stack in stacked.holders(deep) for layer in stack.template_layers]
    name = "convolution_op" if keras.backend.backend() == "jax" else "call"
    assert any(name in vars(layer) for layer in inner)
    if keras.backend.backend() == "jax":
        assert not any(name in vars(layer) for layer in flat.layers)
    reslab.accelerate(deep, undo=True)
    assert not any(name in vars(layer) for layer in inner)
