"""Weights of fine-tuned, wrapped, adapted and nameless models in a network of the zoo."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import reslab
from reslab import weights
from reslab.core.errors import UserError
from reslab.models.build import create, variables
from reslab.weights import match
from reslab.weights.files import Contents
from tests.helpers.reference import randomise

X = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
SHAPE = 16, 16, 3
Arrays = dict[str, np.ndarray]


def filled(**options: Any) -> keras.Model:
    model = create("resnet20", input_shape=SHAPE, **options)
    randomise(model, 0)
    return model


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return filled()


@pytest.fixture(scope="module")
def tensors(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    """The tensors of the model under torchvision's names."""
    path = tmp_path_factory.mktemp("tensors") / "a.safetensors"
    weights.save(model, path, "torchvision")
    return load_file(path)


def same_backbone(a: keras.Model, b: keras.Model) -> bool:
    x, y = variables(a), variables(b)
    names = [name for name in x.keys() & y.keys() if not name.startswith("head")]
    return len(names) > 50 and all(
        np.array_equal(keras.ops.convert_to_numpy(x[n]), keras.ops.convert_to_numpy(y[n]))
        for n in names
    )


def written(path: Path, arrays: Arrays) -> Path:
    save_file({name: np.array(a, order="C") for name, a in arrays.items()}, path)
    return path


# Wrappers ----------------------------------------------------------------------------------------

WRAPPERS: dict[str, Callable[[str], str]] = {
    "Lightning": lambda name: f"model.{name}",
    "deep": lambda name: f"student.trunk.0.{name}",
    "MMPretrain": lambda name: f"head.{name}" if name.startswith("fc") else f"backbone.{name}",
    "two modules": lambda name: f"a.net.{name}" if name.startswith("fc") else f"b.{name}",
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_networks_inside_of_other_modules(
    kind: str, model: keras.Model, tensors: Arrays, tmp_path: Path
) -> None:
    wrapped = {WRAPPERS[kind](name): array for name, array in tensors.items()}
    loaded = reslab.create(
        "resnet20", input_shape=SHAPE, weights=written(tmp_path / "a.safetensors", wrapped)
    )
    np.testing.assert_array_equal(loaded.predict_on_batch(X), model.predict_on_batch(X))
    _, fit = match.identify(Contents(Path("a"), wrapped))
    assert fit.scheme.name == "torchvision"


def test_two_copies_of_a_network_are_refused(tensors: Arrays, tmp_path: Path) -> None:
    both = {
        f"{side}.{name}": array for side in ("left", "right") for name, array in tensors.items()
    }
    with pytest.raises(
        UserError, match=r"the tensors of resnet20 2 times, under left\. and right\."
    ):
        reslab.create("resnet20", weights=written(tmp_path / "a.safetensors", both))


# Other heads and stray tensors -------------------------------------------------------------------

HEADS: dict[str, Callable[[Arrays], Arrays]] = {
    "another name": lambda t: {
        "classifier.weight": t["fc.weight"][:7],
        "classifier.bias": np.ones(7),
    },
    "two layers": lambda t: {"head.0.weight": np.ones((4, 64)), "head.2.weight": np.ones((7, 4))},
    "a criterion": lambda t: {"criterion.weight": np.ones(10), "temperature": np.ones(1)},
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_backbone_out_of_a_model_with_another_head(
    kind: str,
    prefix: str,
    model: keras.Model,
    tensors: Arrays,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = {f"{prefix}{n}": array for n, array in tensors.items() if not n.startswith("fc")}
    others = HEADS[kind](tensors)
    path = written(tmp_path / "a.safetensors", body | others)
    with caplog.at_level(logging.WARNING):
        backbone = reslab.create("resnet20", input_shape=SHAPE, top=False, weights=path)
    assert same_backbone(backbone, model)
    assert all(name in caplog.text for name in others)
    with pytest.raises(UserError, match=r"belongs to no layer.*strict=False \(--no-strict\)"):
        reslab.create("resnet20", weights=path)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        whole = reslab.create("resnet20", input_shape=SHAPE, weights=path, strict=False)
    assert same_backbone(whole, model)
    assert all(f"{name} (" in caplog.text for name in others)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize("nested", [True, False])
def test_a_backbone_out_of_a_model_of_keras(suffix: str, nested: bool, tmp_path: Path) -> None:
    base = filled(top=False)
    x = base.output if not nested else base(inputs := keras.Input(SHAPE))
    y = keras.layers.GlobalAveragePooling2D()(x)
    y = keras.layers.Dense(7, name="my_head")(keras.layers.Dropout(0.2)(y))
    whole = keras.Model(inputs if nested else base.input, y)
    path = tmp_path / f"s{suffix}"
    logging.getLogger("absl").setLevel(logging.ERROR)
    whole.save_weights(path) if suffix == ".weights.h5" else whole.save(path)
    backbone = reslab.create("resnet20", input_shape=SHAPE, top=False, weights=path)
    assert same_backbone(backbone, base)


def test_a_deeper_network_is_not_taken_for_another_head(tmp_path: Path) -> None:
    deeper = create("resnet32", input_shape=SHAPE)
    for scheme in ("reslab", "torchvision"):
        weights.save(deeper, tmp_path / "a.safetensors", scheme)
        arrays = load_file(tmp_path / "a.safetensors")  # without the note
        path = written(tmp_path / "b.safetensors", arrays)
        with pytest.raises(UserError, match=r"it fits resnet32: use that network"):
            reslab.create("resnet20", input_shape=SHAPE, top=False, weights=path)


def test_strict_false_loads_what_fits_and_lists_the_rest(
    model: keras.Model, tensors: Arrays, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {n: a for n, a in tensors.items() if n != "bn1.bias"}
    odd |= {"layer1.0.conv1.weight": np.ones((3, 3, 3, 3), "f4"), "steps_done": np.ones(2)}
    path = written(tmp_path / "a.safetensors", odd)
    with caplog.at_level(logging.WARNING):
        loaded = weights.load(filled(), path, strict=False)
    for name in ("bn1.bias", "layer1.0.conv1.weight", "steps_done"):
        assert name in caplog.text
    assert "tensors of the network are loaded" in caplog.text
    with pytest.raises(UserError):
        weights.load(loaded, written(path, {"other": np.ones(3)}), strict=False)


def test_counters_are_no_weights(model: keras.Model, tensors: Arrays, tmp_path: Path) -> None:
    counters = {"bn1.num_batches_tracked": np.array(3), "updates": np.array(5)}
    path = written(tmp_path / "a.safetensors", tensors | counters)
    loaded = weights.load(filled(), path)
    np.testing.assert_array_equal(loaded.predict_on_batch(X), model.predict_on_batch(X))


# Twins, and files without names ------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_model() -> keras.Model:
    model = keras.applications.ResNet50(
        weights=None, classes=4, input_shape=(32, 32, 3), classifier_activation=None
    )
    randomise(model, 0)
    return model


def test_the_error_names_the_twin_of_another_library(
    keras_model: keras.Model, tmp_path: Path
) -> None:
    keras_model.save_weights(tmp_path / "a.weights.h5")
    for network, twin in (("resnet50", "keras_resnet50"), ("vgg16", "keras_resnet50")):
        with pytest.raises(UserError, match=f"it fits {twin}: use that network"):
            reslab.create(network, weights=tmp_path / "a.weights.h5")


def without_names(path: Path) -> Path:
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, x: x.attrs.__delitem__("name") if "name" in x.attrs else None)
    return path


def test_files_without_names_of_layers(
    keras_model: keras.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A .keras file names the layers elsewhere; a variant of a library says whose order it is."""
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    expected = keras_model.predict_on_batch(x)
    keras_model.save_weights(tmp_path / "a.weights.h5")
    without_names(tmp_path / "a.weights.h5")
    keras_model.save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as file:
        members = {name: file.read(name) for name in file.namelist()}
    (tmp_path / "w.h5").write_bytes(members["model.weights.h5"])
    members["model.weights.h5"] = without_names(tmp_path / "w.h5").read_bytes()
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    for name in ("a.weights.h5", "old.keras"):
        loaded = reslab.create(
            "keras_resnet50", weights=tmp_path / name, input_shape=(32, 32, 3), classes=4
        )
        np.testing.assert_allclose(loaded.predict_on_batch(x), expected, rtol=1e-4, atol=1e-5)
    assert "read in the order of keras.applications" in caplog.text
    with pytest.raises(UserError, match="give scheme 'keras'"):
        reslab.create("resnet50", weights=tmp_path / "a.weights.h5")


# Adapters and quantised models -------------------------------------------------------------------


def adapted() -> keras.Model:
    model = filled()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            layer.enable_lora(2)
            layer.lora_kernel_b.assign(np.full(layer.lora_kernel_b.shape, 0.05, "float32"))
    return model


@pytest.mark.core
@pytest.mark.parametrize(
    ("file", "scheme"),
    [("a.safetensors", "torchvision"), ("a.weights.h5", "reslab"), ("a.h5", "reslab")],
)
def test_adapters_are_merged_when_weights_are_saved(file: str, scheme: str, tmp_path: Path) -> None:
    model = adapted()
    weights.save(model, tmp_path / file, scheme)
    plain = weights.load(filled(), tmp_path / file)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(plain(X)),
        keras.ops.convert_to_numpy(model(X)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_weights_are_loaded_below_adapters(model: keras.Model, tmp_path: Path) -> None:
    weights.save(model, tmp_path / "a.safetensors")
    loaded = weights.load(adapted(), tmp_path / "a.safetensors")
    assert same_backbone(loaded, model)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_quantised_models_are_refused_with_what_helps(tmp_path: Path) -> None:
    model = filled()
    weights.save(model, tmp_path / "a.safetensors")
    model.quantize("int8")
    for act in (
        lambda: weights.save(model, tmp_path / "b.safetensors"),
        lambda: weights.load(model, tmp_path / "a.safetensors"),
    ):
        with pytest.raises(UserError, match=r"quantised to int8.*before model\.quantize"):
            act()
