"""Folding and every inference engine preserve the function of a model."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import reslab
from reslab.core.errors import UserError
from reslab.engines import inference
from reslab.engines.folding import fold
from reslab.engines.program import flatten
from reslab.engines.rebuild import rebuild
from reslab.engines.runtimes import missing_packages
from reslab.models.build import create
from reslab.runs.run import Run
from reslab.training.setup import precision
from reslab.zoo import NETWORKS
from tests.helpers.cli import error_of, output_of
from tests.helpers.odd_nets import LATER, ODD, RARE, SMALL, close
from tests.helpers.reference import randomise

ENGINES = "openvino", "onnxruntime", "backend"
EACH = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name != "backend" and not os.environ.get("CI") and find_spec(name) is None,
            reason=f"{name} is not installed",
        ),
    )
    for name in ENGINES
]
SIZES = {**SMALL, **LATER}
QUICK = (
    "resnet18",
    "resnet50_v2",
    "resnet20",
    "characters_printed",
    "googlenet",
    "seresnet18",
    "densenet_bc100_k12",
    "resnet110_exclusive_gating",
)
FAMILIES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SIZES]
GIANT = "1202", "1202_b", "1001_v2"
OTHERS = [n for n in NETWORKS if n not in SIZES and not n.endswith(GIANT)]


def images(model: keras.Model, n: int = 2, size: int = 40) -> np.ndarray:
    shape = [s or size for s in model.input_shape[1:]]
    return np.random.default_rng(1).normal(size=(n, *shape)).astype("float32")


def agree(model: keras.Model, engines: tuple[str, ...] = ENGINES) -> None:
    """Compare all installed engines; `test_engines_are_installed` ensures that all are."""
    x = images(model)
    expected = model.predict_on_batch(x)
    for engine in engines:
        if not missing_packages(engine):
            outputs = reslab.inference(model, engine)(x)
            keras.tree.assert_same_structure(outputs, expected)
            for a, b in zip(keras.tree.flatten(outputs), keras.tree.flatten(expected), strict=True):
                assert a.shape == b.shape
                close(a, np.asarray(b))


@pytest.mark.parametrize("engine", EACH)
def test_engines_are_installed(engine: str) -> None:
    assert not missing_packages(engine)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_on_each_engine(name: str) -> None:
    model = create(name, input_shape=SIZES[name], data_format="channels_last")
    randomise(model)
    agree(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_network_on_each_engine(name: str) -> None:
    model = create(name)
    randomise(model)
    agree(model)


@pytest.mark.core
@pytest.mark.parametrize("net", [ODD, RARE], ids=lambda net: net.name)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_rare_parts_in_both_data_formats(net: Any, data_format: str) -> None:
    shape = net.input_shape if data_format == "channels_last" else (3, 33, 30)
    model = create(net, input_shape=shape, data_format=data_format)
    randomise(model)
    agree(model)


@pytest.mark.core
def test_folding_removes_batch_norm_and_does_not_modify_the_model() -> None:
    model = create("resnet20_b", input_shape=(16, 16, 3), data_format="channels_last")
    randomise(model)
    config, weights = model.get_config(), model.get_weights()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    folded = rebuild(fold(flatten(model)))
    x = images(model)
    close(folded.predict_on_batch(x), model.predict_on_batch(x))
    agree(model)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)
    assert model.get_config() == config
    assert nodes == [len(layer._inbound_nodes) for layer in model.layers]
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def kinds(model: keras.Model) -> list[str]:
    return [type(call.op).__name__ for call in fold(flatten(model)).calls]


def test_which_layers_are_folded() -> None:
    inputs = keras.Input((9, 9, 4))
    shared = layers.Conv2D(4, 3, padding="same")(inputs)  # used twice: only the sum is folded
    x = layers.Add()([shared, layers.BatchNormalization()(shared)])
    x = layers.BatchNormalization()(x)  # folded forward: the convolution does not pad
    x = layers.Conv2D(6, 3, use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    x = layers.BatchNormalization(center=False)(x)
    x = layers.Conv2D(4, 1, activation="relu")(x)  # the ReLU separates them
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(4, 3, padding="same")(x)  # pads with zeros, which the norm would shift
    x = layers.BatchNormalization(axis=2)(x)  # not the channel axis
    x = layers.Flatten()(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(5)(x)
    x = layers.BatchNormalization()(x)
    model = keras.Model(inputs, layers.Rescaling(0.5, 1.0)(x))
    randomise(model)
    assert kinds(model).count("BatchNormalization") == 3
    assert "Rescaling" not in kinds(model)
    agree(model)


def test_taps_are_a_dictionary() -> None:
    model = create("resnet18", input_shape=(None, None, 3), taps=("conv2_x", "conv3_x"))
    randomise(model)
    agree(model)


def test_a_trained_model_contains_another_model(trained: Run) -> None:
    model = keras.saving.load_model(trained.model_path)
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype("uint8")
    for engine in ENGINES:
        if not missing_packages(engine):
            close(reslab.inference(model, engine)(x), model.predict_on_batch(x))


@pytest.mark.parametrize(
    "name",
    [
        "ResNet50",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("ResNet50V2", "DenseNet121", "VGG16")),
    ],
)
def test_models_of_keras_applications(name: str) -> None:
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(40, 40, 3), classes=7, include_top=False)
    out = layers.Dense(7, activation="softmax")(layers.GlobalAveragePooling2D()(model.output))
    model = keras.Model(model.input, out)
    randomise(model)
    agree(model)


def test_a_sequential_model() -> None:
    model = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(4, 3), layers.ReLU(6)])
    agree(model)


class Sine(layers.Layer):
    """A layer that no engine but the backend supports."""

    def call(self, x: Any) -> Any:
        return keras.ops.sin(x)


def test_mixed_precision_is_float32_at_inference() -> None:
    """The outputs equal those of float32; the model's own outputs differ more."""
    with precision("mixed"):
        model = create("resnet20", input_shape=(16, 16, 3), data_format="channels_last")
    randomise(model)
    full = create("resnet20", input_shape=(16, 16, 3), data_format="channels_last")
    full.set_weights(model.get_weights())
    x = images(model, 4)
    expected = full.predict_on_batch(x)
    for engine in ENGINES:
        if not missing_packages(engine):
            close(reslab.inference(model, engine)(x), expected)
    assert np.abs(model.predict_on_batch(x) - expected).max() > 1e-4 * np.abs(expected).max()


def test_lora_adapters_are_included_in_the_weights() -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    model.layers[0].enable_lora(2)
    for v in model.trainable_variables:
        v.assign(np.random.default_rng(0).normal(size=v.shape))
    agree(model)


@pytest.mark.parametrize("engine", EACH)
def test_one_engine_serves_many_threads(engine: str) -> None:
    model = create("resnet20", input_shape=(16, 16, 3), data_format="channels_last")
    fast = reslab.inference(model, engine)
    batches = [images(model, 2) * k for k in range(1, 5)]
    expected = [fast(x) for x in batches]

    def is_correct(n: int) -> bool:
        k = n % len(batches)
        return np.array_equal(fast(batches[k]), expected[k])

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(is_correct, range(200)))


@pytest.mark.core
@pytest.mark.parametrize("engine", ["auto", "backend"])
def test_the_first_calls_may_come_at_the_same_time(engine: str) -> None:
    model = create("resnet20", input_shape=(16, 16, 3), data_format="channels_last")
    x = images(model, 2)
    expected = reslab.inference(model, "backend")(x)
    fast = reslab.inference(model, engine)
    with ThreadPoolExecutor(8) as threads:
        for answer in threads.map(fast, [x] * 32):
            np.testing.assert_allclose(answer, expected, atol=1e-4 * np.abs(expected).max())


def custom_layer_model() -> keras.Model:
    inputs = keras.Input((6, 6, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, Sine(name="wave")(x))
    randomise(model)
    return model


def test_an_unsupported_layer_runs_on_the_backend(caplog: pytest.LogCaptureFixture) -> None:
    model = custom_layer_model()
    x = images(model)
    with caplog.at_level(logging.WARNING):
        run = reslab.inference(model)
    close(run(x), model.predict_on_batch(x))
    assert run.engine == keras.backend.backend()
    assert [record.getMessage() for record in caplog.records] == [
        "torch runs the model: no other engine supports layer 'wave' (Sine)"
    ]
    assert kinds(model) == ["Conv2D", "Sine"]


def test_a_model_with_its_own_call_runs_unfolded() -> None:
    class Doubled(keras.Model):
        def call(self, x: Any) -> Any:
            return 2 * x

    model = Doubled()
    model(np.zeros((1, 3), "float32"))
    assert reslab.inference(model, "backend")(np.ones((2, 3)))[0, 0] == 2


@pytest.mark.parametrize("engine", EACH[:2])
def test_a_chosen_engine_names_the_layer_it_does_not_support(engine: str) -> None:
    with pytest.raises(UserError, match=rf"{engine} does not support layer 'wave' \(Sine\)"):
        reslab.inference(custom_layer_model(), engine)


def test_errors_name_the_missing_part(monkeypatch: pytest.MonkeyPatch) -> None:
    model = create("resnet20", input_shape=(8, 8, 1), data_format="channels_last")
    with pytest.raises(UserError, match="no engine 'tensorrt'; choose one of auto, openvino"):
        reslab.inference(model, "tensorrt")
    with pytest.raises(UserError, match=r"takes a keras\.Model, not str"):
        reslab.inference("resnet20")  # type: ignore[arg-type]
    run = reslab.inference(model, "backend")
    with pytest.raises(UserError, match=r"takes images \(n, 8, 8, 1\), not an array of \(2, 3\)"):
        run(np.zeros((2, 3)))
    with pytest.raises(UserError, match="no images were given"):
        run.predict(np.zeros((0, 8, 8, 1)))
    with pytest.raises(UserError, match="batch_size must be a positive integer"):
        run.predict(np.zeros((1, 8, 8, 1)), 0)
    monkeypatch.setattr("reslab.engines.runtimes.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"openvino and onnx, which are not.*reslab\[openvino\]"):
        reslab.inference(model, "openvino")
    assert reslab.inference(model).engine == keras.backend.backend()


def test_predict_uses_batches_of_one_size() -> None:
    model = create("resnet20", input_shape=(8, 8, 1), data_format="channels_last")
    randomise(model)
    x = images(model, 11)
    run = reslab.inference(model, "backend")
    sizes = []
    engine = run._engines[0]
    run._engines = [RecordingEngine(engine, sizes)]
    close(run.predict(x, 4), model.predict_on_batch(x))
    assert sizes == [4, 4, 4]


class RecordingEngine:
    """An engine that records the sizes of its batches."""

    def __init__(self, engine: Any, sizes: list[int], name: str = "recording") -> None:
        self.engine, self.sizes, self.name = engine, sizes, name
        self.any_shape = name != "compiles"

    def __call__(self, batch: list[np.ndarray]) -> Any:
        self.sizes.append(len(batch[0]))
        return self.engine(batch)


def test_the_fastest_is_chosen_for_each_shape() -> None:
    import time

    def slow(batch: list[np.ndarray]) -> np.ndarray:
        time.sleep(0.02 * len(batch[0]))
        return batch[0]

    def constant(batch: list[np.ndarray]) -> np.ndarray:
        time.sleep(0.04)
        return batch[0]

    model = create("resnet20", input_shape=(8, 8, 1), data_format="channels_last")
    run = reslab.inference(model, "backend")
    run._engines = [RecordingEngine(slow, [], "slow"), RecordingEngine(constant, [], "constant")]
    for n, fastest in ((1, "slow"), (4, "constant")):
        run(images(model, n))
        run(images(model, n))  # only the first shape of all is measured at its first batch
        assert run.engine == fastest
        assert set(run.seconds[n, 8, 8, 1]) == {"slow", "constant"}


@pytest.mark.parametrize("engine", [*EACH, "auto"])
def test_predict_on_each_engine(engine: str, trained: Run, tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (8, 8), "uint8")).save(tmp_path / f"{i}.png")
    predictions = json.loads(
        output_of("predict", trained.path, tmp_path, "--json", "--engine", engine)
    )
    model, x = keras.saving.load_model(trained.model_path), []
    for prediction in predictions:
        x.append(np.asarray(Image.open(prediction["file"]))[..., None])
    rows = model.predict_on_batch(np.stack(x))
    for row, prediction in zip(rows, predictions, strict=True):
        probabilities = [entry["probability"] for entry in prediction["predictions"]]
        np.testing.assert_allclose(probabilities, np.sort(row)[::-1], atol=1e-4)


@pytest.mark.usefixtures("apart")
def test_predict_rejects_an_unknown_engine(trained: Run) -> None:
    assert "--engine" in error_of("predict", trained.path, "a.png", "--engine", "tensorrt")


@pytest.mark.parametrize("engine", EACH[:1])
def test_openvino_is_imported_without_telemetry(engine: str) -> None:
    script = (
        "import sys\n"
        "from reslab.engines.runtimes import openvino_core\n"
        "openvino_core()\n"
        "assert not [m for m in sys.modules if m.startswith('openvino_telemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ})


@pytest.mark.slow
def test_a_network_of_1001_layers() -> None:
    model = create("resnet1001_v2", input_shape=(8, 8, 3), data_format="channels_last")
    randomise(model)
    agree(model)


def test_the_cost_of_choosing_does_not_grow_with_the_number_of_shapes() -> None:
    model = create("resnet20", input_shape=(None, 8, 1), data_format="channels_last")
    run = reslab.inference(model, "backend")
    flexible = RecordingEngine(run._engines[0], [], "flexible")
    compiles = RecordingEngine(run._engines[0], [], "compiles")
    run._engines = [compiles, flexible]
    x = np.zeros((1, 40, 8, 1), "float32")
    run(x[:, :8])  # the first shape is measured
    compiles.sizes.clear()
    for size in range(9, 29):
        run(x[:, :size])
    assert compiles.sizes == []  # shapes that come once are not
    for _ in range(3):
        for size in range(9, 29):
            run(x[:, :size])
    assert len(run.seconds) == inference.MAX_COMPARISONS


AUGMENTATION = {
    name: getattr(keras.layers, name)
    for name in dir(keras.layers)
    if name.startswith("Random") and name != "RandomCrop"
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "RandomRotation": {"factor": 0.1},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
    "RandomZoom": {"height_factor": 0.1},
}


@pytest.mark.parametrize("name", AUGMENTATION)
def test_augmentation_keeps_no_model_from_an_engine(name: str) -> None:
    one_factor = (
        "Brightness",
        "Contrast",
        "ColorDegeneration",
        "Hue",
        "Posterization",
        "Saturation",
        "Sharpness",
    )
    given = {"factor": 4 if "Poster" in name else 0.2} if name[6:] in one_factor else {}
    layer = AUGMENTATION[name](**ARGUMENTS.get(name, given))
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.SpatialDropout2D(0.5)(layer(inputs)))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    agree(model)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([[1, 2], [3]], "2 shapes"),
        ("cat.jpg", "a str is not an array of numbers"),
        (["a.jpg", "b.jpg"], "not an array of numbers"),
        ([np.zeros((8, 8, 3)), np.zeros((9, 8, 3))], "have 2 shapes"),
        (None, "a NoneType is not an array"),
        ({"image": np.zeros((1, 8, 8, 3))}, "a dict is not an array"),
        (np.zeros((1, 8, 8, 3), complex), "not an array of numbers"),
        (np.full((1, 8, 8, 3), np.nan), "not finite"),
        (np.full((1, 8, 8, 3), -np.inf), "not finite"),
        (np.zeros((1, 9, 8, 3)), r"the model takes images \(n, 8, 8, 3\)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("call", ["__call__", "predict"])
def test_what_is_no_batch_of_images(wrong: Any, message: str, call: str) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(UserError, match=message) as error:
        getattr(reslab.inference(model, "onnxruntime"), call)(wrong)
    assert "\n" not in str(error.value)


def test_numbers_that_are_large_but_finite_are_images() -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalMaxPooling2D()])
    x = np.full((1, 8, 8, 3), 3e38, "float32")
    close(reslab.inference(model, "onnxruntime")(x), np.full((1, 3), 3e38))


def test_tensors_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    run = reslab.inference(model, "backend")
    x = torch.ones(2, 8, 8, 3, requires_grad=True)
    close(run(x), run(np.ones((2, 8, 8, 3))))
    close(run(list(x)), run(np.ones((2, 8, 8, 3))))


@pytest.mark.core
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("variable", ["kernel", "gamma", "moving_variance"])
def test_weights_that_are_not_finite_are_refused(value: float, variable: str) -> None:
    model = create("resnet20", input_shape=(8, 8, 1))
    v = next(v for v in model.variables if v.name == variable)
    array = np.array(keras.ops.convert_to_numpy(v))
    array.flat[0] = value
    v.assign(array)
    with pytest.raises(UserError, match=rf"not finite \(.*{variable}\): its training diverged"):
        reslab.inference(model)


SIGNALLED = """
import faulthandler, gc, signal
faulthandler.enable()  # which has a stack for signals
import keras, numpy, reslab
def opened():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    engine = reslab.inference(model, engine="openvino")
    engine(numpy.ones((1, 4), "float32"))
    return engine
engines = [opened(), opened(), opened()]
while engines:
    del engines[0]
    gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_after_openvino_is_handled():
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True)
    assert done.stdout.split() == ["handled"], done.stderr
    assert done.returncode == 0
