"""`reslab.accelerate` on models with several dtypes, masks or custom calls, or later changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import reslab
from reslab.models.scopes import policy
from tests.helpers.models import array, torch_only

pytestmark = pytest.mark.core
RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(4, 8, 8, 3)).astype("float32")
ROWS = RNG.normal(size=(4, 64)).astype("float32")


def same(model: keras.Model, x: np.ndarray, **options: Any) -> None:
    """Assert that stock and accelerated models agree in dtype, and in values up to rounding."""
    weights = model.get_weights()
    stock = reslab.accelerate(model, undo=True)(x, **options)
    model.set_weights(weights)
    fast = reslab.accelerate(model)(x, **options)
    kinds = [keras.backend.standardize_dtype(y.dtype) for y in (stock, fast)]
    assert kinds[0] == kinds[1]
    scale = np.abs(array(stock)).max()
    assert np.abs(array(stock) - array(fast)).max() <= 1e-5 * scale


@pytest.fixture
def mixed() -> Iterator[None]:
    with policy("mixed_bfloat16"):
        yield


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize("what", ["head", "convolution", "sum", "rectifier"])
def test_float32_layers_in_a_mixed_model(what: str) -> None:
    image = keras.Input((8, 8, 3))
    one, other = (layers.BatchNormalization()(layers.Conv2D(8, 3)(image)) for _ in range(2))
    output = {
        "head": lambda: layers.Dense(10, dtype="float32")(layers.GlobalAveragePooling2D()(one)),
        "convolution": lambda: layers.Conv2D(8, 3, dtype="float32")(image),
        "sum": lambda: layers.Add(dtype="float32")([one, other]),
        "rectifier": lambda: layers.ReLU(dtype="float32")(one),
    }[what]()
    same(keras.Model(image, output), MAPS)


@pytest.mark.parametrize("dtype", ["float64", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_other_dtypes(dtype: str, training: bool) -> None:
    if dtype == "float64" and keras.backend.backend() != "tensorflow":
        pytest.skip("Keras computes float64 in float32 on JAX, and its sums differ on PyTorch")
    inner = layers.BatchNormalization(dtype=dtype)
    image = keras.Input((8, 8, 3), dtype=inner.compute_dtype)
    x = MAPS.astype("float64") if dtype == "float64" else MAPS
    model = keras.Model(image, inner(image))
    stock = array(reslab.accelerate(model, undo=True)(x, training=training))
    fast = array(reslab.accelerate(model)(x, training=training))
    ulp = {"float64": 1e-6, "mixed_float16": 2**-10, "bfloat16": 2**-7}[dtype]
    assert np.abs(stock - fast).max() <= ulp * np.abs(stock).max()


@pytest.mark.parametrize(
    ("kind", "expected"), [(layers.Add, 2**25 + 2), (layers.Concatenate, 2**24 + 1)]
)
def test_integers_stay_integers(kind: Any, expected: int) -> None:
    """Float32 cannot represent 2^24 + 1."""
    numbers = keras.Input((4,), dtype="int32")
    model = reslab.accelerate(keras.Model(numbers, kind()([numbers, numbers])))
    results = model(np.array([[2**24 + 1, 2, 3, 4]], "int32"))
    assert keras.backend.standardize_dtype(results.dtype) == "int32"
    assert int(results[0][0]) == expected


def test_the_input_is_not_overwritten() -> None:
    image = keras.Input((8, 8, 3))
    model = reslab.accelerate(keras.Model(image, layers.ReLU()(layers.Add()([image]))))
    inputs = keras.ops.convert_to_tensor(MAPS.copy())
    model(inputs)
    np.testing.assert_array_equal(array(inputs), MAPS)


def test_a_mask_that_a_layer_computes_is_used() -> None:
    class Short(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.supports_masking = True

        def call(self, x: Any) -> Any:
            return x

        def compute_mask(self, x: Any, mask: Any = None) -> Any:
            return keras.ops.any(keras.ops.not_equal(x, 0.0), -1)

    rows = keras.Input((5, 3))
    mean = layers.GlobalAveragePooling1D()(layers.Activation("relu")(Short()(rows)))
    x = np.ones((2, 5, 3), "float32")
    x[:, 3:] = 0
    model = reslab.accelerate(keras.Model(rows, mean))
    np.testing.assert_allclose(array(model(x)), 1.0)


def small() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="bn")(layers.Conv2D(8, 3, name="conv")(image))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    x = layers.Dense(32, activation="softmax", name="dense")(x)
    return keras.Model(image, layers.Dense(16, name="head")(x))


@pytest.mark.parametrize("change", ["activation", "epsilon", "lora", "call"])
def test_later_changes_of_a_layer_take_effect(change: str) -> None:
    model = reslab.accelerate(small())
    before = array(model(MAPS))
    if change == "activation":
        model.get_layer("dense").activation = keras.activations.linear
    elif change == "epsilon":
        model.get_layer("bn").epsilon = 2.0
    elif change == "lora":
        model.get_layer("head").enable_lora(2)
        for v in model.get_layer("head").trainable_variables:
            v.assign(np.ones(v.shape))
    else:
        dense = model.get_layer("dense")
        dense.call = lambda x: 7 * type(dense).call(dense, x)
    after = array(model(MAPS))
    assert np.abs(after - before).max() > 1e-2 * np.abs(before).max()
    stock = array(reslab.accelerate(model, undo=True)(MAPS))
    np.testing.assert_allclose(after, stock, rtol=1e-4, atol=1e-5)


def test_a_call_that_the_user_has_replaced_is_kept() -> None:
    model = small()
    model.get_layer("head").call = lambda x: keras.ops.zeros((4, 16)) + 7
    for undo in (False, True):
        np.testing.assert_array_equal(array(reslab.accelerate(model, undo=undo)(MAPS)), 7)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_an_accelerated_model_can_be_quantised() -> None:
    model = reslab.accelerate(small())
    before = array(model(MAPS))
    model.quantize("int8")
    after = array(model(MAPS))
    assert 0 < np.abs(after - before).max() < 0.1 * np.abs(before).max()


def test_a_sequential_model_is_planned_as_well() -> None:
    if keras.backend.backend() != "torch":
        pytest.skip("only PyTorch has plans")
    model = keras.Sequential([keras.Input((64,)), layers.Dense(8), layers.ReLU()])
    same(model, ROWS)
    assert "call" in vars(model._functional)


@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV2"])
def test_networks_of_keras_applications(name: str) -> None:
    model = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=5)
    same(model, RNG.normal(size=(4, 32, 32, 3)).astype("float32"))


def test_a_custom_train_step_is_kept() -> None:
    """Both of a class and of a single model."""
    torch_only()

    class Own(keras.Model):
        def train_step(self, *args: Any) -> Any:
            raise RuntimeError("as it is")

    i = keras.Input((4,))
    o = layers.Dense(2)(i)
    x, y = np.ones((2, 4), "float32"), np.ones((2, 2), "float32")
    one, kind = keras.Model(i, o), Own(i, o)
    one.train_step = kind.train_step
    for model in (one, kind):
        reslab.accelerate(model).compile("sgd", "mse")
        with pytest.raises(RuntimeError, match="as it is"):
            model.fit(x, y, verbose=0)


def test_changes_between_steps_take_effect() -> None:
    """Layers that are frozen and unfrozen, all layers frozen, losses of layers, sample weights."""
    torch_only()

    def history(undo: bool) -> list[Any]:
        i = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, kernel_regularizer="l2", name="conv")(i)
        x = layers.GlobalAveragePooling2D()(
            layers.ReLU()(layers.BatchNormalization(center=False, scale=False, name="bn")(x))
        )
        model = reslab.accelerate(keras.Model(i, layers.Dense(3)(x)), undo=undo)
        rng = np.random.default_rng(0)
        for weight in model.weights:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
        x, y = rng.normal(size=(6, 8, 8, 3)).astype("float32"), np.arange(6) % 3
        results = []
        how: Any = {"sample_weight": 1 + y, "batch_size": 3, "shuffle": False, "verbose": 0}
        for trains in (True, False, True):
            model.get_layer("conv").trainable = trains
            results += [*model.fit(x, y, **how).history.values(), *model.get_weights()]
        model.trainable = False
        model.get_layer("bn").trainable = True  # its running statistics still change
        with pytest.warns(UserWarning, match="any trainable weights"):
            results += model.fit(x, y, **how).history.values()
        return results + model.get_weights()

    for stock, fast in zip(history(True), history(False), strict=True):
        np.testing.assert_allclose(fast, stock, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_no_1x1_kernel_with_few_channels_strides(padding: str) -> None:
    """On some processors PyTorch writes outside of its gradient: positions are selected first."""
    torch = torch_only()
    from torch.utils._python_dispatch import TorchDispatchMode

    strides = []

    class Recording(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
            if function is torch.ops.aten.convolution_backward.default:
                strides.append(tuple(args[4]))
            return function(*args, **(kwargs or {}))

    image = keras.Input((7, 8, 3))
    thin = layers.Conv2D(8, 1, (2, 3), padding)(image)
    wide = layers.Conv2D(4, 1, 2)(thin)
    model = reslab.accelerate(keras.Model(image, wide))
    x = torch.rand(4, 7, 8, 3)
    same(model, x.numpy())
    with Recording():
        model(x).sum().backward()
    assert strides == [(2, 2), (1, 1)]
