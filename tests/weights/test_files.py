"""Files of weights: every format there and back, and what is said of those that do not fit."""

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
from reslab.weights import keras_order as order
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
def test_there_and_back(file: str, scheme: str, tmp_path: Path) -> None:
    if file.endswith(".pth"):
        pytest.importorskip("torch")
    one, two = filled(SMALL), filled(SMALL, seed=1)
    weights.save(one, tmp_path / file, scheme)
    assert not same(one, two)
    weights.load(two, tmp_path / file)
    assert same(one, two)


@pytest.mark.core
def test_keras_itself_reads_what_is_written_for_it(tmp_path: Path) -> None:
    inception = Concat(((Conv(4, 1),), (Conv(4, 1), Conv(4, 3)), (MaxPool(3, 1), Conv(4, 1))))
    side_by_side = Network("side", {**ROWS, "inception_3a": inception, **HEAD}, (16, 16, 3))
    for net in (SMALL, DEEP, side_by_side):
        one, two = filled(net), filled(net, seed=1)
        weights.save(one, tmp_path / "a.weights.h5")
        two.load_weights(tmp_path / "a.weights.h5")
        assert same(one, two)
        own = [layer.name for layer in one.layers if layer.weights]
        ours = [p for p in order.by_depth(walk(net), shortcut_first=False) if p in own]
        assert ours == own
        one.save_weights(tmp_path / "b.weights.h5")
        randomise(two, 1)
        weights.load(two, tmp_path / "b.weights.h5")
        assert same(one, two)


@pytest.mark.parametrize("scheme", ["torchvision", "timm", "keras"])
def test_connections_behind_flattened_maps_keep_their_function(scheme: str, tmp_path: Path) -> None:
    """The same file in a net that flattens as Torch does and in one that does as Keras does."""
    one, two = filled(chain("chw")), create(chain("hwc"))
    weights.save(one, tmp_path / "a.safetensors", scheme)
    weights.load(two, tmp_path / "a.safetensors")
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3))
    np.testing.assert_allclose(one.predict_on_batch(x), two.predict_on_batch(x), rtol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_what_is_loaded_does_not_depend_on_the_order_of_axes(
    data_format: str, tmp_path: Path
) -> None:
    weights.save(filled(chain("chw")), tmp_path / "a.safetensors", "timm")
    other = create(chain("chw"), data_format=data_format)
    weights.load(other, tmp_path / "a.safetensors")
    kernel = keras.ops.convert_to_numpy(variables(other)["head_dense1/kernel"])
    saved = safetensors.numpy.load_file(tmp_path / "a.safetensors")["pre_logits.fc1.weight"]
    assert saved.shape == (7, 6, 4, 4)
    assert np.array_equal(kernel, saved.reshape(7, -1).T)


# Classes, networks, what travels ----------------------------------------------------------------


def test_another_number_of_classes_leaves_the_head_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = filled(SMALL), filled(with_classes(SMALL, 3), seed=1)
    weights.save(one, tmp_path / "a.pth", "torchvision")
    before = keras.ops.convert_to_numpy(variables(two)["head_dense1/kernel"]).copy()
    with caplog.at_level(logging.WARNING):
        weights.load(two, tmp_path / "a.pth")
    assert "has 5 classes, the model 3: the head (fc.bias, fc.weight) is left" in caplog.text
    after = variables(two)
    assert np.array_equal(keras.ops.convert_to_numpy(after["head_dense1/kernel"]), before)
    body = variables(one)["conv3_x_2_body_conv1/kernel"]
    assert np.array_equal(after["conv3_x_2_body_conv1/kernel"], body)


@pytest.mark.parametrize("options", [{"top": False}, {"taps": ("conv2_x",)}], ids=str)
def test_a_part_of_the_network_is_filled_from_the_whole(
    options: dict[str, Any], tmp_path: Path
) -> None:
    one, part = filled(SMALL), create(SMALL, **options)
    weights.save(one, tmp_path / "a.pth", "torchvision")
    weights.load(part, tmp_path / "a.pth")
    whole = variables(one)
    assert all(np.array_equal(v, whole[name]) for name, v in variables(part).items())


def test_the_classes_of_a_file_are_the_default(tmp_path: Path) -> None:
    weights.save(filled(with_classes(SMALL, 3)), tmp_path / "a.safetensors", "timm")
    model = reslab.create(SMALL, weights=tmp_path / "a.safetensors")
    assert model.output_shape == (None, 3)


def test_preprocessing_and_names_travel(tmp_path: Path) -> None:
    model = filled(SMALL)
    how = weights.Preprocessing(size=16, resize=None, mean=(1.0, 2.0, 3.0), order="bgr")
    model.reslab = weights.About(SMALL, how, tuple("abcde"))
    for file, scheme in FORMATS:
        if file != "a.pth":
            weights.save(model, tmp_path / file, scheme)
            again = weights.about(weights.load(create(SMALL), tmp_path / file))
            assert (again.preprocessing, again.classes) == (how, tuple("abcde"))


def test_strides_travel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The tensors of v1 and v1.5 have the same shapes."""
    weights.save(filled(DEEP), tmp_path / "a.safetensors", "torchvision")
    message = r"belongs to deep, not to deep_v1: conv3_x_1_body_conv1 has stride 1 there, 2 here"
    with pytest.raises(UserError, match=message):
        weights.load(create(DEEP_V1), tmp_path / "a.safetensors")
    weights.save(filled(DEEP), tmp_path / "a.pth", "torchvision")  # which cannot say
    with caplog.at_level(logging.WARNING):
        weights.load(create(DEEP_V1), tmp_path / "a.pth")
    assert "strides in a 1x1 convolution (v1)" in caplog.text


def test_a_model_of_unknown_network_asks_for_its_name(tmp_path: Path) -> None:
    one = filled(SMALL)
    weights.save(one, tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    with pytest.raises(UserError, match=r"no network 'small' is known: .* network=NAME"):
        weights.save(again, tmp_path / "b.safetensors")
    weights.save(again, tmp_path / "b.safetensors", network=SMALL)
    assert same(one, weights.load(filled(SMALL, seed=1), tmp_path / "b.safetensors"))


def test_the_model_that_a_training_left(trained: Run) -> None:
    """Whole: ours lies in it, between a standardisation and a softmax."""
    model = create(tiny.NETWORK)
    weights.load(model, trained.model_path)
    inside = keras.saving.load_model(trained.model_path, compile=False).get_layer(model.name)
    assert same(model, inside)


# Files that do not fit --------------------------------------------------------------------------


class Evil:
    """A pickle of it leaves a file where it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def refused(path: Path, net: Network = SMALL, **options: Any) -> str:
    model = filled(net)
    before = [np.array(v) for v in model.get_weights()]
    with pytest.raises(UserError) as raised:
        weights.load(model, path, **options)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_wrong_shapes_are_named_with_both(tmp_path: Path) -> None:
    wide = Network("wide", rows(lambda w, s=1: basic(2 * w, s)), (16, 16, 3))
    weights.save(filled(wide), tmp_path / "a.pth", "torchvision")
    said = refused(tmp_path / "a.pth")
    assert "does not fit small (torchvision names)" in said
    assert "layer1.0.conv1.weight is (16, 8, 3, 3) in the file, (8, 8, 3, 3) in the network" in said
    assert said.count(" in the file, ") == 3
    assert "more" in said


def test_missing_and_superfluous_tensors_are_named(tmp_path: Path) -> None:
    weights.save(filled(SMALL), tmp_path / "a.safetensors", "torchvision")
    arrays = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    arrays["layer9.weight"] = arrays.pop("layer1.0.bn2.running_var")
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    said = refused(tmp_path / "a.safetensors")
    assert "layer1.0.bn2.running_var (8) is missing; layer9.weight (8) belongs to no layer" in said


def test_the_wrong_scheme_is_told_the_right_one(tmp_path: Path) -> None:
    weights.save(filled(SMALL), tmp_path / "a.safetensors", "keras_hub")
    said = refused(tmp_path / "a.safetensors", scheme="torchvision")
    assert "has keras_hub names, not torchvision: scheme='keras_hub'" in said
    assert "did you mean 'timm'?" in refused(tmp_path / "a.safetensors", scheme="tim")


def test_libraries_that_have_no_such_net_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="torchvision has no pre-activated nets"):
        weights.save(create("resnet110_v2"), tmp_path / "a.pth", "torchvision")
    with pytest.raises(UserError, match="torchvision has no net like this"):
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
        made = {"noise": noise, "empty": b"", "pickle": pickle.dumps({"a": Evil()})}
        path.write_bytes(made.get(kind, good[: len(good) // 2]))
    assert f"a{ending} " in refused(path)
    assert not Path("executed").exists()


def test_torch_files_with_more_than_weights_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": torch.zeros(2), "extra": Evil()}, "a.pth")
    assert "holds more than weights, which could run code" in refused(Path("a.pth"))
    assert not Path("executed").exists()


def test_a_torch_whose_reader_could_run_code_is_not_used(tmp_path: Path, monkeypatch: Any) -> None:
    torch = pytest.importorskip("torch")
    weights.save(filled(SMALL), tmp_path / "a.pth", "torchvision")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    assert "need PyTorch 2.6 or newer" in refused(tmp_path / "a.pth")


def test_h5_arrays_of_objects_and_links_are_refused(tmp_path: Path) -> None:
    for kind in ("objects", "external"):
        path = tmp_path / f"{kind}.weights.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("layers/dense/vars")
            group.attrs["name"] = "head_dense1"
            if kind == "objects":
                group.create_dataset("0", data=["a", "b"], dtype=h5py.string_dtype())
            else:
                place = [("/etc/hostname", 0, 8)]
                group.create_dataset("0", (2,), dtype="f4", external=place)
        assert "not an array of numbers in the file itself: it is not read" in refused(path)


@pytest.mark.parametrize("scheme", ["keras", "keras_hub", "reslab"])
def test_h5_without_names_of_layers(scheme: str, tmp_path: Path) -> None:
    """Keras 3's first files: taken in the library's order, if it is said whose."""
    path = tmp_path / "a.weights.h5"
    model = filled(DEEP)
    weights.save(model, path, scheme)
    with h5py.File(path, "a") as file:
        del file["reslab"]
        named: list[Any] = []
        file.visititems(lambda name, item: named.append(item) if "name" in item.attrs else None)
        for group in named:
            del group.attrs["name"]
    assert "does not say which layer is which: say whose it is" in refused(path, DEEP)
    assert same(model, weights.load(filled(DEEP, seed=1), path, scheme))


def test_names_of_files(tmp_path: Path) -> None:
    assert "there is no file" in refused(tmp_path / "nowhere.pth")
    (tmp_path / "a.bin").touch()
    assert "weights are files that end in .safetensors, .pth" in refused(tmp_path / "a.bin")
    (tmp_path / "a.pth").mkdir()
    assert "is a folder" in refused(tmp_path / "a.pth")
    with pytest.raises(UserError, match="is a folder; name a file"):
        weights.save(create(SMALL), tmp_path / "a.pth", "timm")


def test_notes_that_are_not_ours(tmp_path: Path) -> None:
    weights.save(filled(SMALL), tmp_path / "a.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    for said in ({"preprocessing": {"mean": "far"}}, {"network": {"rows": 3}}):
        safetensors.numpy.save_file(
            arrays, tmp_path / "b.safetensors", metadata={"reslab": json.dumps(said)}
        )
        said = refused(tmp_path / "b.safetensors")
        assert "b.safetensors: not " in said
