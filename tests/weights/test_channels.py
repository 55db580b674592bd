"""Weights for RGB on grey images, and for grey images on RGB, as timm adapts them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import reslab
from reslab.spec import walk
from reslab.weights import channels, match
from reslab.weights.files import Contents
from tests.helpers import tiny

pytestmark = pytest.mark.core


@pytest.mark.parametrize("name", ["resnet20", "plain20"])
@pytest.mark.parametrize(("of", "to"), [(3, 1), (1, 3)])
def test_a_model_sees_the_same_in_grey_images(tmp_path, caplog, name, of, to):
    source = reslab.create(name, classes=4, input_shape=(32, 32, of))
    reslab.weights.save(source, tmp_path / "w.safetensors")
    model = reslab.create(name, classes=4, input_shape=(32, 32, to))
    with caplog.at_level(logging.WARNING):
        reslab.weights.load(model, tmp_path / "w.safetensors")
    assert any("the first kernel is" in record.message for record in caplog.records)
    grey = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype("float32")
    inputs = {1: grey, 3: np.repeat(grey, 3, 3)}
    expected, actual = source.predict(inputs[of]), model.predict(inputs[to])
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)


def test_kernels_of_torch_and_of_keras():
    net = tiny.NETWORK
    layers = walk(net)
    for scheme in match.schemes().values():
        try:
            plain = match.fit(scheme, layers, Contents(Path("x"), {}))
        except reslab.UserError:  # the library has no such network
            continue
        axis = 1 if scheme.torch else 2
        arrays = {}
        for name, mapping in plain.mappings.items():
            shape = list(mapping.their_shape)
            if mapping.ours == "conv1_conv1/kernel":
                shape[axis] = 3
            arrays[name] = np.random.default_rng(0).normal(size=shape).astype("float32")
        fit = match.fit(scheme, layers, Contents(Path("x"), arrays))
        changed, notes = channels.adapted(fit, layers)
        assert not changed.differences()
        assert "summed over RGB" in notes[0]
        assert channels.adapted(changed, layers) == (changed, [])


def test_other_numbers_of_channels_are_not_adapted(tmp_path):
    reslab.weights.save(
        reslab.create("resnet20", input_shape=(32, 32, 3)), tmp_path / "w.safetensors"
    )
    model = reslab.create("resnet20", input_shape=(32, 32, 2))
    with pytest.raises(reslab.UserError, match="does not fit"):
        reslab.weights.load(model, tmp_path / "w.safetensors")
