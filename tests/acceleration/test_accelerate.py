"""`reslab.accelerate` computes the same as stock Keras, with fused operations and a plan."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import reslab
from reslab.core.errors import UserError
from reslab.models import stacked
from reslab.models.build import create
from reslab.models.optimizers import SGD
from reslab.training.setup import precision
from tests.helpers.models import array, both, derivatives, nets, objective, torch_only
from tests.helpers.reference import randomise


def fast_only() -> None:
    if keras.backend.backend() == "jax":
        pytest.skip("acceleration changes nothing on JAX")


def hessian_times_ones(model: keras.Model, x: np.ndarray) -> list[np.ndarray]:
    """Return the product of ones and the Hessian of the objective for the weights, in training."""
    weights = [v.value for v in model.trainable_variables]
    if keras.backend.backend() == "torch":
        import torch

        total = objective(model(torch.tensor(x), training=True))
        first = torch.autograd.grad(total, weights, create_graph=True)
        return list(map(array, torch.autograd.grad(sum(g.sum() for g in first), weights)))
    import tensorflow as tf

    with tf.GradientTape() as outer:
        with tf.GradientTape() as tape:
            total = objective(model(x, training=True))
        first = tf.add_n([tf.reduce_sum(g) for g in tape.gradient(total, weights)])
    return list(map(array, outer.gradient(first, weights)))


def agree(model: keras.Model, **options: Any) -> None:
    """Assert that outputs and statistics agree to 2e-5, and gradients to 1e-4 of the largest norm.

    If the input of a ReLU is almost zero, the two models may round it to different signs. Then
    gradients differ by 1e-2. This happens in one of six batches, so one of three must agree.
    """
    rng, errors = np.random.default_rng(1), []
    for _ in range(3):
        x = rng.normal(size=(16, *model.input_shape[1:])).astype("float32")
        stock, fast = both(model, x, **options)
        gradients = {k: v for k, v in stock.items() if "gradient of" in k}
        for name in stock.keys() - gradients.keys() - {"input gradient"}:
            value = stock[name]
            assert np.abs(fast[name] - value).max() <= 2e-5 * np.abs(value).max(), name
        largest = max(np.linalg.norm(v) for v in gradients.values())
        off = [np.linalg.norm(fast[k] - v) / largest for k, v in gradients.items()]
        key = "input gradient"
        off.append(np.linalg.norm(fast[key] - stock[key]) / np.linalg.norm(stock[key]))
        errors.append(max(off))
    assert min(errors) <= 1e-4, errors


@pytest.mark.core
@pytest.mark.parametrize("name", ["resnet20", "resnet20_first", "odd", "guide"])
@pytest.mark.parametrize("training", [True, False])
def test_forward_backward_and_statistics_equal_stock_keras(name: str, training: bool) -> None:
    fast_only()
    model = nets()[name]
    randomise(model)
    agree(model, training=training)


@pytest.mark.core
@pytest.mark.parametrize("training", [True, False])
def test_mixed_precision_equals_stock_keras(training: bool) -> None:
    """Equal to a few units of 2^-8: both round at every layer, fused batch norm once less."""
    fast_only()
    with precision("mixed"):
        model = create("resnet20", input_shape=(8, 8, 3))
    x = np.random.default_rng(1).normal(size=(8, 8, 8, 3)).astype("float32")
    stock, fast = both(model, x, training=training)
    assert np.abs(stock["output"] - fast["output"]).max() <= 2**-5 * np.abs(stock["output"]).max()
    for name in (v.path for v in model.non_trainable_variables):
        off = np.abs(stock[name] - fast[name]).max()
        assert off <= 2**-5 * np.abs(stock[name]).max(), name
    assert reslab.accelerate(model)(x).dtype == keras.ops.convert_to_tensor(x, "bfloat16").dtype


@pytest.mark.core
def test_mixed_gradients_have_the_error_of_stock_keras() -> None:
    """bfloat16 rounds at every layer, so both are compared with float32 gradients."""
    fast_only()
    exact = create("resnet20", input_shape=(8, 8, 3))
    with precision("mixed"):
        model = create("resnet20", input_shape=(8, 8, 3))
    model.set_weights(exact.get_weights())
    x = np.random.default_rng(1).normal(size=(16, 8, 8, 3)).astype("float32")

    def gradient(arrays: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([v.ravel() for k, v in arrays.items() if "gradient of" in k])

    true = gradient(both(exact, x, training=True)[0])
    stock, fast = (np.linalg.norm(gradient(f) - true) for f in both(model, x, training=True))
    assert 0 < fast <= 1.5 * stock < np.linalg.norm(true)


OURS = "resnet20", "resnet50", "resnet110_v2", "resnet50_d", "seresnet50", "densenet121"


@pytest.mark.parametrize("name", OURS)
def test_a_plan_has_a_rule_for_every_layer_of_the_zoo(name: str) -> None:
    torch_only()
    from reslab.acceleration.torch_plan import KerasStep, TorchPlan

    steps = TorchPlan(create(name)).steps
    assert [step.operation.name for step in steps if isinstance(step, KerasStep)] == []


@pytest.mark.parametrize("name", ["resnet20", "resnet18_d", "seresnet18", "densenet40_k12"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_gradients_have_the_memory_format_of_the_activations(name: str, data_format: str) -> None:
    """Otherwise each operation of the backward pass converts the gradient."""
    torch = torch_only()
    shape = (32, 32, 3) if data_format == "channels_last" else (3, 32, 32)
    model = create(name, input_shape=shape, data_format=data_format)
    y = model(torch.rand(2, *shape), training=True)
    nodes, strides_by_kind = [y.grad_fn], {}

    def look(node: Any) -> Any:
        kind = node.name()

        def hook(gradients: tuple[Any, ...]) -> None:
            maps = [g for g in gradients if g is not None and g.dim() == 4 and g[0, 0].numel() > 1]
            strides_by_kind.setdefault(kind, []).extend(g.stride(1) for g in maps)

        return hook

    done = set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in done:
            done.add(node)
            nodes += [before for before, _ in node.next_functions]
            if node.name() in ("ConvolutionBackward0", "NativeBatchNormBackward0", "ReluBackward0"):
                node.register_prehook(look(node))
    y.sum().backward()
    assert len(strides_by_kind) == 3
    assert {kind: set(strides) for kind, strides in strides_by_kind.items()} == {
        kind: {1} for kind in strides_by_kind
    }


@pytest.mark.core
def test_a_training_argument_of_a_call_is_respected() -> None:
    """Monte Carlo dropout, and batch norm with training=False."""
    fast_only()
    i = keras.Input((4,))
    x = layers.BatchNormalization(name="bn")(i, training=False)
    model = reslab.accelerate(keras.Model(i, layers.Dropout(0.5, seed=1)(x, training=True)))
    y = keras.ops.convert_to_numpy(model(np.ones((50, 4), "float32")))
    assert 0 < (y == 0).mean() < 1
    np.testing.assert_array_equal(model.get_layer("bn").get_weights()[2], np.zeros(4))


@pytest.mark.core
def test_stacked_units_are_accelerated_too() -> None:
    fast_only()
    model = create("resnet20", input_shape=(8, 8, 3), stacked=True)
    inner = [m for layer in stacked.holders(model) for m in layer.untracked_models]
    assert inner
    assert all(any("call" in vars(x) for x in m._flatten_layers()) for m in inner)
    reslab.accelerate(model, undo=True)
    assert not any("call" in vars(x) for m in inner for x in m._flatten_layers())


def test_second_derivatives_equal_those_of_stock_keras() -> None:
    torch_only()  # those of stock Keras are wrong on TensorFlow, see below
    model = create("resnet20", input_shape=(8, 8, 3), classes=3)
    x = np.random.default_rng(1).normal(size=(8, 8, 8, 3)).astype("float32")
    products = []
    for undo in (True, False):
        reslab.accelerate(model, undo=undo)
        products.append(hessian_times_ones(model, x))
    largest = max(np.abs(p).max() for p in products[0])
    for p, q in zip(*products, strict=True):
        assert np.abs(p - q).max() <= 1e-3 * largest  # sums of thousands of float32 terms


@pytest.mark.core
def test_second_derivatives_equal_differences_of_first_ones() -> None:
    """Stock Keras on TensorFlow fails this: tf.nn.moments treats the mean inside the variance as a
    constant."""
    fast_only()
    i = x = keras.Input((8, 8, 3))
    for _ in range(2):
        x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
        x = layers.Activation("tanh")(layers.BatchNormalization()(x))  # no kinks
    model = keras.Model(i, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    assert error_of_the_hessian(reslab.accelerate(model)) <= 1e-3
    if keras.backend.backend() == "tensorflow":
        assert error_of_the_hessian(reslab.accelerate(model, undo=True)) > 1e-3


def error_of_the_hessian(model: keras.Model) -> float:
    """Return the difference from finite differences, relative to the largest value."""
    x = np.random.default_rng(1).normal(size=(8, 8, 8, 3)).astype("float32")
    product = hessian_times_ones(model, x)
    before, sides, h = model.get_weights(), [], 1e-3
    for step in (h, -h):
        model.set_weights(before)
        for v in model.trainable_variables:
            v.assign(v + step)
        sides.append([array(g) for g in derivatives(model, x, training=True)[2]])
    model.set_weights(before)
    off = [p - (up - down) / (2 * h) for p, up, down in zip(product, *sides, strict=True)]
    return max(np.abs(o).max() for o in off) / max(np.abs(p).max() for p in product)


@pytest.mark.core
def test_saved_files_are_stock_and_undo_restores(tmp_path: Path) -> None:
    fast_only()
    model = create("resnet20", input_shape=(8, 8, 3))
    assert all(type(x).__module__.startswith("keras.") for x in model._flatten_layers())
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")
    fast = model.predict_on_batch(x)
    model.save(tmp_path / "m.keras")
    stock = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(stock.predict_on_batch(x), fast, rtol=1e-4, atol=1e-5)
    reslab.accelerate(model, undo=True)
    assert not any({"call", "train_step"} & vars(x).keys() for x in model._flatten_layers())
    np.testing.assert_array_equal(model.predict_on_batch(x), stock.predict_on_batch(x))


@pytest.mark.core
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nesterov": True},
        {"weight_decay": 1.0, "global_clipnorm": 1.0},
        {"gradient_accumulation_steps": 2},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_fits_like_stock_keras(options: dict[str, Any]) -> None:
    """Two epochs of SGD with momentum from the same weights lead to equal weights.

    If the input of a ReLU is almost zero, rounding decides about the gradient of that position. At
    this learning rate the effect is a tenth of the tolerance; a missing term of a rule is larger.
    """
    fast_only()
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(1).normal(size=(32, 8, 8, 3)).astype("float32")
    y = np.arange(32) % 10
    ends = []
    start = create("resnet20", input_shape=(8, 8, 3)).get_weights()
    for undo in (True, False):
        model = reslab.accelerate(create("resnet20", input_shape=(8, 8, 3)), undo=undo)
        model.set_weights(start)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.001, 0.9, **options), loss)
        model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sgd", [keras.optimizers.SGD, SGD])
def test_sgd_updates_any_kernel_in_one_pass(sgd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also kernels with one channel or one position, whose strides are ambiguous."""
    torch_only()
    from reslab.acceleration import torch_sgd

    views = []

    def recording(*tensors: Any) -> Any:
        views.append(contiguous_views(*tensors))
        return views[-1]

    contiguous_views = torch_sgd.contiguous_views
    monkeypatch.setattr(torch_sgd, "contiguous_views", recording)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 1)(layers.Conv2D(4, 3, use_bias=False)(inputs))
    x = layers.Conv2D(1, 3)(layers.BatchNormalization()(x))
    model = reslab.accelerate(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    model.compile(sgd(0.01, 0.9), "mse")
    for _ in range(2):  # the velocities are created in the first step, and transposed in the second
        views.clear()
        model.train_on_batch(np.ones((2, 8, 8, 1)), np.ones((2, 2)))
    assert len(views) == len(model.trainable_variables)
    assert all(views)


@pytest.mark.core
def test_layers_without_a_rule_are_not_changed() -> None:
    fast_only()

    class Own(layers.Conv2D):
        def call(self, inputs: Any) -> Any:
            return 2 * super().call(inputs)

    i = keras.Input((8, 8, 3))
    x = Own(4, 3)(i)
    x = layers.Masking()(layers.Reshape((36, 4))(x))
    model = keras.Model(i, layers.BatchNormalization()(x))
    agree(model, training=True)


def test_freed_memory_is_used_again_without_page_faults() -> None:
    """Page faults are counted in a separate process with the default settings of glibc."""
    torch_only()
    script = (
        "import sys, torch\n"
        "from reslab.acceleration.torch_memory import keep_freed_memory\n"
        "if not keep_freed_memory(): sys.exit()\n"
        "import resource\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def step(): [torch.ones(5_000_000) for _ in range(15)]\n"  # 20 MB each, held together
        "step(); step(); step(); before = faults(); step(); print(faults() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    if not done.stdout:
        pytest.skip("no glibc")
    assert int(done.stdout) < 15 * 20_000_000 / 4096 / 10


def test_other_objects_than_models_are_refused() -> None:
    with pytest.raises(UserError, match="takes a Keras model, not str"):
        reslab.accelerate("resnet50")  # type: ignore[type-var]
