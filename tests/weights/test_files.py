"""Weight files: round trips through every format, and the errors for files that do not fit."""

from __future__ import annotations

import json
import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy

import reslab
from reslab import weights
from reslab.core.errors import UserError
from reslab.models.build import create, variables
from reslab.runs.run import Run
from reslab.spec import (
    BN,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Network,
    ReLU,
    stage,
    walk,
)
from reslab.spec.transforms import with_classes
from reslab.weights import keras_order
from reslab.zoo.resnet import basic, bottleneck, bottleneck_v1
from tests.helpers import tiny
from tests.helpers.reference import randomise

ROWS = {"conv1": (Conv(8, 3), BN(), ReLU)}
HEAD = {"head": (GlobalAvgPool, Dense(5))}


def rows(block: Any) -> dict[str, Any]:
    return {**ROWS, "conv2_x": stage(block, 8, 2), "conv3_x": stage(block, 16, 2, 2), **HEAD}


SMALL = Network("small", rows(basic), (16, 16, 3))
DEEP = Network("deep", rows(bottleneck), (16, 16, 3))
DEEP_V1 = Network("deep_v1", rows(bottleneck_v1), (16, 16, 3))
CHAIN = {
    "conv1": (Conv(8, 3, bias=True), ReLU, MaxPool(2, 2)),
    "conv2": (Conv(6, 3, bias=True), ReLU, MaxPool(2, 2)),
}


def chain(order: str) -> Network:
    head = Flatten(order), Dense(7), ReLU, Dropout(0.5), Dense(5)
    return Network(f"chain_{order}", {**CHAIN, "head": head}, (16, 16, 3))


def filled(net: Network, seed: int = 0, **options: Any) -> keras.Model:
    model = create(net, **options)
    randomise(model, seed)
    return model


def same(a: keras.Model, b: keras.Model) -> bool:
    x, y = variables(a), variables(b)
    return x.keys() == y.keys() and all(
        np.array_equal(keras.ops.convert_to_numpy(x[k]), keras.ops.convert_to_numpy(y[k]))
        for k in x
        if not k.endswith("seed_generator_state")
    )


FORMATS = [
    ("a.safetensors", "torchvision"),
    ("a.safetensors", "reslab"),
    ("a.pth", "timm"),
    ("a.weights.h5", "keras_hub"),
    ("a.weights.h5", "reslab"),
    ("a.h5", "keras"),
    ("a.keras", "reslab"),
]


@pytest.mark.core
@pytest.mark.parametrize(("file", "scheme"), FORMATS)
def test_round_trip(file: str, scheme: str, tmp_path: Path) -> None:
    if file.endswith(".pth"):
        pytest.importorskip("torch")
    one, two = filled(SMALL), filled(SMALL, seed=1)
    weights.save(one, tmp_path / file, scheme)
    assert not same(one, two)
    weights.load(two, tmp_path / file)
    assert same(one, two)


@pytest.mark.core
def test_keras_loads_our_weight_files(tmp_path: Path) -> None:
    inception = Concat(((Conv(4, 1),), (Conv(4, 1), Conv(4, 3)), (MaxPool(3, 1), Conv(4, 1))))
    side_by_side = Network("side", {**ROWS, "inception_3a": inception, **HEAD}, (16, 16, 3))
    for net in (SMALL, DEEP, side_by_side):
        one, two = filled(net), filled(net, seed=1)
        weights.save(one, tmp_path / "a.weights.h5")
        two.load_weights(tmp_path / "a.weights.h5")
        assert same(one, two)
        names = [layer.name for layer in one.layers if layer.weights]
        paths = keras_order.by_depth(walk(net), shortcut_first=False)
        assert [path for path in paths if path in names] == names
        one.save_weights(tmp_path / "b.weights.h5")
        randomise(two, 1)
        weights.load(two, tmp_path / "b.weights.h5")
        assert same(one, two)


@pytest.mark.parametrize("scheme", ["torchvision", "timm", "keras"])
def test_dense_layers_after_flattened_maps_keep_their_function(scheme: str, tmp_path: Path) -> None:
    """One file in a network that flattens like PyTorch and in one that flattens like Keras."""
    one, two = filled(chain("chw")), create(chain("hwc"))
    weights.save(one, tmp_path / "a.safetensors", scheme)
    weights.load(two, tmp_path / "a.safetensors")
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3))
    np.testing.assert_allclose(one.predict_on_batch(x), two.predict_on_batch(x), rtol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_loaded_weights_do_not_depend_on_the_data_format(data_format: str, tmp_path: Path) -> None:
    weights.save(filled(chain("chw")), tmp_path / "a.safetensors", "timm")
    other = create(chain("chw"), data_format=data_format)
    weights.load(other, tmp_path / "a.safetensors")
    kernel = keras.ops.convert_to_numpy(variables(other)["head_dense1/kernel"])
    weight = safetensors.numpy.load_file(tmp_path / "a.safetensors")["pre_logits.fc1.weight"]
    assert weight.shape == (7, 6, 4, 4)
    assert np.array_equal(kernel, weight.reshape(7, -1).T)


# Classes, networks and notes --------------------------------------------------------------------


def test_the_head_is_skipped_for_another_number_of_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = filled(SMALL), filled(with_classes(SMALL, 3), seed=1)
    weights.save(one, tmp_path / "a.pth", "torchvision")
    before = keras.ops.convert_to_numpy(variables(two)["head_dense1/kernel"]).copy()
    with caplog.at_level(logging.WARNING):
        weights.load(two, tmp_path / "a.pth")
    assert "has 5 classes, the model 3: the head (fc.bias, fc.weight) is initialised" in caplog.text
    after = variables(two)
    assert np.array_equal(keras.ops.convert_to_numpy(after["head_dense1/kernel"]), before)
    body = variables(one)["conv3_x_2_body_conv1/kernel"]
    assert np.array_equal(after["conv3_x_2_body_conv1/kernel"], body)


@pytest.mark.parametrize("options", [{"top": False}, {"taps": ("conv2_x",)}], ids=str)
def test_a_part_of_the_network_is_loaded_from_the_file_of_the_whole(
    options: dict[str, Any], tmp_path: Path
) -> None:
    one, part = filled(SMALL), create(SMALL, **options)
    weights.save(one, tmp_path / "a.pth", "torchvision")
    weights.load(part, tmp_path / "a.pth")
    expected = variables(one)
    assert all(np.array_equal(v, expected[name]) for name, v in variables(part).items())


def test_the_number_of_classes_defaults_to_the_files(tmp_path: Path) -> None:
    weights.save(filled(with_classes(SMALL, 3)), tmp_path / "a.safetensors", "timm")
    model = reslab.create(SMALL, weights=tmp_path / "a.safetensors")
    assert model.output_shape == (None, 3)


def test_files_store_the_preprocessing_and_class_names(tmp_path: Path) -> None:
    model = filled(SMALL)
    preprocessing = weights.Preprocessing(size=16, resize=None, mean=(1.0, 2.0, 3.0), order="bgr")
    model.reslab = weights.About(SMALL, preprocessing, tuple("abcde"))
    for file, scheme in FORMATS:
        if file != "a.pth":
            weights.save(model, tmp_path / file, scheme)
            loaded = weights.about(weights.load(create(SMALL), tmp_path / file))
            assert (loaded.preprocessing, loaded.classes) == (preprocessing, tuple("abcde"))


def test_files_store_the_strides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The tensors of v1 and v1.5 have the same shapes."""
    weights.save(filled(DEEP), tmp_path / "a.safetensors", "torchvision")
    message = (
        r"belongs to deep, not to deep_v1: conv3_x_1_body_conv1 has stride 1 in deep, 2 in deep_v1"
    )
    with pytest.raises(UserError, match=message):
        weights.load(create(DEEP_V1), tmp_path / "a.safetensors")
    weights.save(filled(DEEP), tmp_path / "a.pth", "torchvision")  # a .pth file has no note
    with caplog.at_level(logging.WARNING):
        weights.load(create(DEEP_V1), tmp_path / "a.pth")
    assert "strides in a 1x1 convolution (v1)" in caplog.text


def test_a_model_that_cannot_be_identified_needs_a_network(tmp_path: Path) -> None:
    one = filled(SMALL)
    weights.save(one, tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    with pytest.raises(UserError, match=r"there is no network 'small': .* network=NAME"):
        weights.save(loaded, tmp_path / "b.safetensors")
    weights.save(loaded, tmp_path / "b.safetensors", network=SMALL)
    assert same(one, weights.load(filled(SMALL, seed=1), tmp_path / "b.safetensors"))


def test_the_model_of_a_run(trained: Run) -> None:
    """It contains reslab's model between a normalisation and a softmax."""
    model = create(tiny.NETWORK)
    weights.load(model, trained.model_path)
    inner = keras.saving.load_model(trained.model_path, compile=False).get_layer(model.name)
    assert same(model, inner)


# Files that do not fit --------------------------------------------------------------------------


class Evil:
    """Its pickle creates a file when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def error_of(path: Path, net: Network = SMALL, **options: Any) -> str:
    model = filled(net)
    before = [np.array(v) for v in model.get_weights()]
    with pytest.raises(UserError) as raised:
        weights.load(model, path, **options)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_wrong_shapes_are_listed(tmp_path: Path) -> None:
    wide = Network("wide", rows(lambda w, s=1: basic(2 * w, s)), (16, 16, 3))
    weights.save(filled(wide), tmp_path / "a.pth", "torchvision")
    message = error_of(tmp_path / "a.pth")
    assert "does not fit small (torchvision names)" in message
    assert (
        "layer1.0.conv1.weight is (16, 8, 3, 3) in the file, (8, 8, 3, 3) in the network" in message
    )
    assert message.count(" in the file, ") == 3
    assert "more" in message


def test_missing_and_extra_tensors_are_listed(tmp_path: Path) -> None:
    weights.save(filled(SMALL), tmp_path / "a.safetensors", "torchvision")
    arrays = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    arrays["layer9.weight"] = arrays.pop("layer1.0.bn2.running_var")
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    message = error_of(tmp_path / "a.safetensors")
    assert (
        "layer1.0.bn2.running_var (8) is missing; layer9.weight (8) belongs to no layer" in message
    )


def test_the_error_for_a_wrong_scheme_names_the_right_one(tmp_path: Path) -> None:
    weights.save(filled(SMALL), tmp_path / "a.safetensors", "keras_hub")
    message = error_of(tmp_path / "a.safetensors", scheme="torchvision")
    assert "has keras_hub names, not torchvision: use scheme='keras_hub'" in message
    assert "did you mean 'timm'?" in error_of(tmp_path / "a.safetensors", scheme="tim")


def test_the_error_names_the_library_without_such_a_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="torchvision has no pre-activation networks"):
        weights.save(create("resnet110_v2"), tmp_path / "a.pth", "torchvision")
    with pytest.raises(UserError, match="torchvision has no such network"):
        weights.save(create("plain20"), tmp_path / "a.pth", "torchvision")
    with pytest.raises(UserError, match="holds a whole model, under reslab's names"):
        weights.save(create(SMALL), tmp_path / "a.keras", "keras")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".weights.h5", ".h5", ".keras"])
@pytest.mark.parametrize("kind", ["truncated", "noise", "empty", "pickle", "text in a zip"])
def test_damaged_files(kind: str, ending: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(f"a{ending}")
    weights.save(filled(SMALL), path, "reslab")
    good = path.read_bytes()
    if kind == "text in a zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("letter.txt", "dear reader")
    else:
        noise = np.random.default_rng(0).bytes(1000)
        contents = {"noise": noise, "empty": b"", "pickle": pickle.dumps({"a": Evil()})}
        path.write_bytes(contents.get(kind, good[: len(good) // 2]))
    assert f"a{ending} " in error_of(path)
    assert not Path("executed").exists()


def test_torch_files_with_more_than_weights_are_rejected(tmp_path: Path, monkeypatch: Any) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": torch.zeros(2), "extra": Evil()}, "a.pth")
    assert "contains more than weights, which could run code" in error_of(Path("a.pth"))
    assert not Path("executed").exists()


def test_a_pytorch_version_with_an_unsafe_loader_is_rejected(
    tmp_path: Path, monkeypatch: Any
) -> None:
    torch = pytest.importorskip("torch")
    weights.save(filled(SMALL), tmp_path / "a.pth", "torchvision")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    assert "need PyTorch 2.6 or newer" in error_of(tmp_path / "a.pth")


def test_h5_arrays_of_objects_and_links_are_rejected(tmp_path: Path) -> None:
    for kind in ("objects", "external"):
        path = tmp_path / f"{kind}.weights.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("layers/dense/vars")
            group.attrs["name"] = "head_dense1"
            if kind == "objects":
                group.create_dataset("0", data=["a", "b"], dtype=h5py.string_dtype())
            else:
                external = [("/etc/hostname", 0, 8)]
                group.create_dataset("0", (2,), dtype="f4", external=external)
        assert "not an array of numbers in the file itself: it is not read" in error_of(path)


@pytest.mark.parametrize("scheme", ["keras", "keras_hub", "reslab"])
def test_h5_without_layer_names(scheme: str, tmp_path: Path) -> None:
    """Early files of Keras 3 are read in the order of the library that `scheme` names."""
    path = tmp_path / "a.weights.h5"
    model = filled(DEEP)
    weights.save(model, path, scheme)
    with h5py.File(path, "a") as file:
        del file["reslab"]
        groups: list[Any] = []
        file.visititems(lambda _, item: groups.append(item) if "name" in item.attrs else None)
        for group in groups:
            del group.attrs["name"]
    assert "does not name its layers: give scheme" in error_of(path, DEEP)
    assert same(model, weights.load(filled(DEEP, seed=1), path, scheme))


def test_paths_that_are_not_weight_files(tmp_path: Path) -> None:
    assert "there is no file" in error_of(tmp_path / "nowhere.pth")
    (tmp_path / "a.txt").touch()
    assert "a weight file ends in .safetensors, .pth" in error_of(tmp_path / "a.txt")
    (tmp_path / "a.pth").mkdir()
    assert "is a folder" in error_of(tmp_path / "a.pth")
    with pytest.raises(UserError, match="is a folder; name a file"):
        weights.save(create(SMALL), tmp_path / "a.pth", "timm")


def test_invalid_notes_are_rejected(tmp_path: Path) -> None:
    weights.save(filled(SMALL), tmp_path / "a.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    for note in ({"preprocessing": {"mean": "far"}}, {"network": {"rows": 3}}):
        safetensors.numpy.save_file(
            arrays, tmp_path / "b.safetensors", metadata={"reslab": json.dumps(note)}
        )
        assert "b.safetensors: " in error_of(tmp_path / "b.safetensors")
