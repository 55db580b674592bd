"""Naming schemes: examples, and properties of every network."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given

from reslab import weights, zoo
from reslab.core.errors import UserError
from reslab.models.build import create, variables
from reslab.spec import Conv, Dense, Dropout, Flatten, GlobalAvgPool, Network, ReLU, Residual, walk
from reslab.weights import files
from reslab.weights.layer_paths import parse_layer_path
from reslab.weights.schemes import map_variables, schemes
from tests.helpers.random_nets import few, networks
from tests.helpers.reference import randomise
from tests.helpers.weights import hub, libraries

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="names do not depend on the backend"
)
EXAMPLES = [
    ("resnet50", "conv1_bn1/moving_mean", "torchvision", "bn1.running_mean"),
    ("resnet50", "conv3_x_4_body_conv1/kernel", "torchvision", "layer2.3.conv1.weight"),
    ("resnet50", "conv3_x_1_shortcut_bn1/gamma", "timm", "layer2.0.downsample.1.weight"),
    ("resnet50", "conv3_x_4_body_bn3/beta", "keras_hub", "stack1_block3_3_bn/beta"),
    ("resnet50_d", "conv1_bn2/gamma", "timm", "conv1.4.weight"),
    ("resnet50_d", "conv2_x_1_shortcut_conv1/kernel", "timm", "layer1.0.downsample.1.weight"),
    ("timm_resnet50_v2", "conv4_x_2_lead_bn1/gamma", "timm", "stages.2.blocks.1.norm1.weight"),
    ("timm_resnet50_v2", "conv4_x_2_body_bn1/gamma", "timm", "stages.2.blocks.1.norm2.weight"),
    ("timm_resnet50_v2", "head_dense1/kernel", "timm", "head.fc.weight"),
    ("keras_resnet50_v2", "conv2_x_3_body_bn1/gamma", "keras", "conv2_block3_preact_bn/gamma"),
    ("keras_resnet50_v2", "conv2_x_2_body_bn1/gamma", "keras", "conv2_block2_1_bn/gamma"),
    (
        "densenet121",
        "dense2_7_branch2_conv2/kernel",
        "torchvision",
        "features.denseblock2.denselayer7.conv2.weight",
    ),
    ("keras_densenet121", "dense2_7_branch2_bn1/gamma", "keras", "conv3_block7_0_bn/gamma"),
    ("keras_densenet121", "transition1_conv1/kernel", "keras", "pool2_conv/kernel"),
    (
        "googlenet",
        "inception_4b_1_branch2_conv2/kernel",
        "torchvision",
        "inception4b.branch2.1.conv.weight",
    ),
    (
        "googlenet",
        "inception_4b_1_branch4_bn1/gamma",
        "torchvision",
        "inception4b.branch4.1.bn.weight",
    ),
    ("vgg11_bn", "conv2_bn1/gamma", "torchvision", "features.5.weight"),
    ("vgg16", "head_dense2/bias", "torchvision", "classifier.3.bias"),
    ("vgg16", "head_dense2/bias", "timm", "pre_logits.fc2.bias"),
    ("vgg16", "head_dense3/kernel", "keras", "predictions/kernel"),
    ("alexnet", "conv3_conv1/kernel", "torchvision", "features.6.weight"),
]


@pytest.mark.parametrize(("network", "ours", "scheme", "theirs"), EXAMPLES)
def test_examples(network: str, ours: str, scheme: str, theirs: str) -> None:
    net = zoo.network(network)
    mappings = map_variables(schemes()[scheme], walk(net))
    assert mappings[theirs].ours == ours


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
def test_every_variable_has_a_unique_name_or_the_scheme_raises(name: str) -> None:
    layers = walk(zoo.network(name))
    variables = sum(len(layer.weights) + len(layer.state) for layer in layers)
    for scheme in schemes().values():
        try:
            mappings = map_variables(scheme, layers)
        except UserError:
            assert scheme.name != "reslab"
            continue
        assert len(mappings) == len({m.ours for m in mappings.values()}) == variables
        for mapping in mappings.values():
            assert np.prod(mapping.shape) == np.prod(mapping.their_shape)


def test_layer_paths_of_squeeze_and_excitation() -> None:
    """They are those of a unit within the unit."""
    inner = Residual((Conv(2, 1, bias=True), ReLU, Conv(8, 1, bias=True)), shortcut=())
    unit = Residual((Conv(8, 3), inner), shortcut=(), tail=(ReLU,))
    layers = walk(Network("se", {"conv2_x": unit, "head": (GlobalAvgPool, Dense(2))}, (8, 8, 8)))
    names = {m.ours: name for name, m in map_variables(schemes()["timm"], layers).items()}
    assert names["conv2_x_1_body_1_body_conv2/bias"] == "layer1.0.se.fc2.bias"
    assert names["conv2_x_1_body_conv1/kernel"] == "layer1.0.conv1.weight"


def test_a_nesting_that_no_library_has() -> None:
    inner = Residual(Residual(Residual(Conv(8, 3), ()), ()), ())
    layers = walk(Network("deep", {"conv2_x": inner, "head": (Flatten(), Dense(2))}, (8, 8, 8)))
    assert parse_layer_path(layers[0]) is None
    with pytest.raises(UserError, match="timm has no such network"):
        map_variables(schemes()["timm"], layers)
    assert map_variables(schemes()["reslab"], layers)


@given(networks())
@few
def test_weights_of_random_networks_round_trip_through_a_file(net: Network) -> None:
    """Keras's own `load_weights`, which reads layers by their order, loads it too."""
    one, two = create(net), create(net)
    values = randomise(one)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.weights.h5")
        weights.save(one, file, network=net)
        weights.load(two, file, network=net)
        assert all(np.array_equal(v, values[k]) for k, v in variables(two).items() if k in values)
        if not any(isinstance(x.part, Dropout) for x in walk(net)):
            randomise(two, seed=1)
            two.load_weights(file)
            assert all(np.array_equal(v, values[k]) for k, v in variables(two).items())


# Older files ------------------------------------------------------------------------------------


def old_h5(path, layers: dict[str, dict[str, np.ndarray]]) -> None:
    """Write the layout of Keras 1 and 2: each layer's group lists the names of its weights."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, variables in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in variables]
            for name, array in variables.items():
                group[name] = array


def test_names_of_keras_1_and_of_its_first_densenet(tmp_path) -> None:
    one = np.ones(2, "float32")
    old_h5(
        tmp_path / "a.h5",
        {
            "block1_conv1": {"block1_conv1_W_1:0": one, "block1_conv1_b_1:0": one},
            "conv1/bn": {"conv1/bn/gamma:0": one},
            "conv1_relu": {},
            "bn_2": {"bn_2_running_std:0": one},
        },
    )
    arrays = files.read(tmp_path / "a.h5").arrays
    rename = schemes()["keras"].rename
    assert [rename(name) for name in arrays] == [
        "block1_conv1/kernel",
        "block1_conv1/bias",
        "conv1_bn/gamma",
        "bn_2/moving_variance",
    ]


def test_names_in_torchvisions_densenet_files() -> None:
    rename = schemes()["torchvision"].rename
    old = "features.denseblock1.denselayer1.norm.1.weight"
    assert rename(old) == "features.denseblock1.denselayer1.norm1.weight"


def test_keras_applications_loads_our_h5_file(tmp_path) -> None:
    """`weights=` reads it by the order of layers, and reslab loads the saved model again."""
    net = zoo.network("keras_resnet50")
    model = weights.create(net, input_shape=(32, 32, 3), data_format="channels_last")
    rng = np.random.default_rng(0)
    for variable in model.variables:
        value = libraries.random(rng, variable.path, tuple(variable.shape), first=False)
        variable.assign(value)
    weights.save(model, tmp_path / "a.h5", "keras")
    make = keras.applications.ResNet50
    theirs = make(
        weights=str(tmp_path / "a.h5"), input_shape=(32, 32, 3), classifier_activation=None
    )
    x = rng.normal(size=(1, 32, 32, 3)).astype("float32")
    ours, logits = (np.asarray(m.predict_on_batch(x)) for m in (model, theirs))
    assert np.abs(ours - logits).max() <= 1e-4 * np.abs(logits).max()
    theirs.save(tmp_path / "b.keras")
    weights.load(weights.create(net, input_shape=(32, 32, 3)), tmp_path / "b.keras", "keras")


def test_the_file_of_a_keras_hub_backbone_is_loaded_without_a_head(tmp_path) -> None:
    """It is the `model.weights.h5` of KerasHub's presets."""
    theirs = libraries.fill_keras(hub.make("resnet_18", 32))
    theirs.backbone.save_weights(tmp_path / "model.weights.h5")
    model = weights.create("resnet18", input_shape=(32, 32, 3), data_format="channels_last")
    weights.load(model, tmp_path / "model.weights.h5")
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    backbone = keras.Model(model.input, model.get_layer("conv5_x_2_tail_relu1").output)
    ours = np.asarray(backbone.predict_on_batch(x))
    np.testing.assert_allclose(ours, np.asarray(theirs.backbone.predict_on_batch(x)), rtol=1e-4)
