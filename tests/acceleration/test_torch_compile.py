"""`jit_compile=True` on PyTorch compiles the layers that have a rule, with equal results."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import reslab
from reslab.core.interrupts import Interrupted
from reslab.core.progress import Watch
from reslab.models.build import create
from reslab.spec import BN, Conv, Dense, GlobalAvgPool, Network, ReLU, stage
from reslab.spec.transforms import stochastic
from reslab.training.setup import precision
from reslab.training.train import resume
from reslab.zoo.resnet import basic
from tests.helpers import tiny
from tests.helpers.models import nets
from tests.helpers.reference import randomise
from tests.helpers.training import same_bits

if keras.backend.backend() != "torch":
    pytest.skip("needs the PyTorch backend", allow_module_level=True)

# warnings of PyTorch's compiler
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

SMALL = Network(
    "small",
    {
        "conv1": (Conv(4, 3), BN(), ReLU),
        "conv2_x": stage(basic, 4, 3),
        "conv3_x": stage(basic, 8, 2, 2),
        "head": (GlobalAvgPool, Dense(10)),
    },
    (8, 8, 3),
)


def mixed() -> keras.Model:
    with precision("mixed"):
        return create(SMALL)


def nested() -> keras.Model:
    """A backbone with frozen batch norm, a layer without a rule, and dropout."""
    i = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(i)
    x = layers.Add()([layers.ReLU()(layers.BatchNormalization()(x)), x])
    backbone = keras.Model(i, x, name="backbone")
    for layer in backbone.layers:
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    top = [layers.Rescaling(0.5), layers.Dropout(0.3, seed=3), layers.BatchNormalization()]
    top += [layers.GlobalAveragePooling2D(), layers.Dense(10)]
    return reslab.accelerate(keras.Sequential([keras.Input((8, 8, 3)), backbone, *top]))


NETS: dict[str, Callable[[], keras.Model]] = {
    "residual": lambda: create(SMALL),
    "stochastic depth": lambda: create(stochastic(SMALL, 0.5)),
    "stacked": lambda: create(SMALL, stacked=True),
    "stacked, recomputed": lambda: create(SMALL, stacked=True, remat=True),
    "mixed": mixed,
    "nested": nested,
    "all rules": lambda: reslab.accelerate(nets()["guide"]),
}


def compiled(model: keras.Model, jit: bool = True) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, 0.9), loss, metrics=["accuracy"], jit_compile=jit)
    return model


def batch(n: int = 16, shape: tuple[int, ...] = (8, 8, 3)) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(n, *shape)).astype("float32")
    return x, np.arange(n) % 4


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of the first input of each compiled segment."""
    from reslab.acceleration.torch_compile import CompiledSegment

    compile_segment, shapes = CompiledSegment._compiled, []

    def recording(segment: Any, inputs: list[Any]) -> Any:
        shapes.append(tuple(inputs[0].shape))
        return compile_segment(segment, inputs)

    monkeypatch.setattr(CompiledSegment, "_compiled", recording)
    return shapes


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in NETS if name != "nested"]


@pytest.mark.parametrize("name", ["nested", *SLOW])
def test_a_compiled_net_trains_as_an_eager_one(name: str, shapes: list[Any]) -> None:
    ends, start = [], None
    for jit in (False, True):
        assert not shapes
        keras.utils.set_random_seed(1)
        model = NETS[name]()
        if start is None:
            randomise(model)
            start = model.get_weights()
        model.set_weights(start)
        compiled(model, jit)
        inputs = batch(shape=model.input_shape[1:])
        logs = [model.train_on_batch(*inputs) for _ in range(3)]
        ends.append([np.array(logs), *model.get_weights()])
    assert shapes
    tolerance = 2**-6 if name == "mixed" else 1e-4
    for eager, fused in zip(*ends, strict=True):
        assert np.abs(eager - fused).max() <= tolerance * max(np.abs(eager).max(), 1e-3)


@pytest.mark.slow
def test_recomputation_in_another_thread_is_compiled_too(shapes: list[Any]) -> None:
    """On a GPU the backward pass has its own thread. It must recompute with the compiled unit."""
    import torch

    from reslab.acceleration.torch_compile import compilation as compiling

    model, gradients = NETS["stacked, recomputed"](), []
    x = torch.from_numpy(batch()[0])
    for enabled in (False, True):
        with compiling(enabled):
            total = model(x, training=True).square().sum()
        weights = [v.value for v in model.trainable_variables]
        with ThreadPoolExecutor(1) as pool:
            gradients.append(pool.submit(torch.autograd.grad, total, weights).result())
    assert shapes
    for eager, fused in zip(*gradients, strict=True):
        assert (eager - fused).abs().max() <= 1e-4 * max(float(eager.abs().max()), 1e-3)


def test_a_smaller_last_batch_is_not_compiled(shapes: list[Any]) -> None:
    model = compiled(nested())
    model.fit(*batch(40), batch_size=16, epochs=2, verbose=0)
    assert {shape[0] for shape in shapes} == {16}
    model.fit(*batch(16), batch_size=8, verbose=0)  # another size that is used again is compiled
    assert {shape[0] for shape in shapes} == {16, 8}


def test_evaluation_is_not_compiled_and_undo_removes_compilation(shapes: list[Any]) -> None:
    model = compiled(nested())
    model.evaluate(*batch(), verbose=0)
    model.predict(batch()[0], verbose=0)
    assert not shapes
    reslab.accelerate(model, undo=True)
    assert not {"call", "train_step", "_should_torch_compile"} & vars(model).keys()


def test_a_custom_train_step_uses_the_compiled_network(shapes: list[Any]) -> None:
    import torch

    class Own(keras.Model):
        def train_step(self, data: Any) -> Any:
            x, y = data[:2]
            self.zero_grad()
            loss = self.compute_loss(x, y, self(x, training=True))
            loss.backward()
            with torch.no_grad():
                gradients = [v.value.grad for v in self.trainable_variables]
                self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}

    i = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(i)))
    model = compiled(reslab.accelerate(Own(i, layers.Dense(10)(layers.Flatten()(x)))))
    losses = [model.train_on_batch(*batch()) for _ in range(3)]
    assert losses[0] > losses[2]
    assert shapes == [(16, 8, 8, 3), (16, 144)]


@pytest.mark.slow
def test_training_continues_without_a_compiler(tmp_path: Path) -> None:
    script = (
        "from tests.acceleration.test_torch_compile import batch, compiled, nested\n"
        "print(compiled(nested()).train_on_batch(*batch()))\n"
    )
    env = os.environ | {"CXX": "/no/such/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )
    assert (
        "torch.compile failed, and training continues without it: InvalidCxxCompiler" in done.stderr
    )
    assert done.stdout


@pytest.mark.slow
def test_a_resumed_run_is_bitwise_equal(tmp_path: Path) -> None:
    data = tiny.folder(tmp_path / "tiny")
    options: dict[str, Any] = {"epochs": 2, "batch": 32, "jit_compile": True}

    def stop(line: Any) -> None:
        raise Interrupted

    whole = reslab.train(tiny.NETWORK, data, out=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        reslab.train(tiny.NETWORK, data, out=tmp_path / "b", watch=Watch(epoch=stop), **options)
    again = resume(tmp_path / "b")
    same_bits(whole, again)
    assert "the first step compiles the network" in "".join(
        line["text"] for line in again.log("note")
    )
