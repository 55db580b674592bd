"""Parts that users write: built, trained, resumed and loaded again."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest

import reslab
from reslab import spec
from reslab.core.errors import UserError
from reslab.models import saved
from reslab.spec import serialize, summary
from tests.helpers.user_parts import NETWORK, STOCK, Depthwise

TORCH = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="runs do not depend on the backend"
)


@pytest.mark.core
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_built_and_trained(data_format: str) -> None:
    shape = (8, 8, 1) if data_format == "channels_last" else (1, 8, 8)
    model = reslab.create(NETWORK, input_shape=shape, data_format=data_format)
    assert model.count_params() == summary.counts(NETWORK).total_params
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    loss = model.train_on_batch(x, np.arange(4) % 3)
    assert np.isfinite(float(loss))
    level = model.get_layer("conv2_x_3_body_sine1").level
    assert np.any(keras.ops.convert_to_numpy(level))


@pytest.mark.core
def test_weights_keep_their_names(tmp_path: Path) -> None:
    model = reslab.create(NETWORK)
    reslab.weights.save(model, tmp_path / "mine.safetensors")
    other = reslab.create(NETWORK, weights=tmp_path / "mine.safetensors")
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(
        other.predict_on_batch(x), model.predict_on_batch(x), rtol=1e-5, atol=1e-6
    )


def test_units_with_custom_parts_are_not_stacked() -> None:
    names = {layer.name for layer in reslab.create(NETWORK, stacked=True).layers}
    assert "conv2_x_2_body_depthwise1" in names


@dataclass(frozen=True)
class Wrong(Depthwise):
    """A part whose Keras layer contradicts its shape, weights, state or name."""

    fault: str = ""

    def out_shape(self, *in_shapes: spec.Shape) -> spec.Shape:
        return in_shapes[0] if self.fault == "shape" else super().out_shape(*in_shapes)

    def weights(self, in_shape: spec.Shape) -> dict[str, tuple[int, ...]]:
        return {} if self.fault == "weights" else super().weights(in_shape)

    def state(self, in_shape: spec.Shape) -> dict[str, tuple[int, ...]]:
        return {"mean": (1,)} if self.fault == "state" else {}

    def keras_layer(self, site: spec.Site) -> Any:
        layer = super().keras_layer(
            replace(site, path="wrong_name") if self.fault == "name" else site
        )
        return layer.call if self.fault == "layer" else layer


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shape", r"out_shape says \(8, 8, 1\), the output of its Keras layer is \(4, 4, 1\)"),
        ("weights", r"weights says {}, its Keras layer has {'kernel': \(3, 3, 1, 1\)}"),
        ("state", r"state says {'mean': \(1,\)}, its Keras layer has {}"),
        ("name", "calls its layer 'wrong_name': pass name=site.path"),
        ("layer", "return a keras.layers.Layer"),
    ],
)
def test_a_layer_that_contradicts_its_part_is_refused(fault: str, message: str) -> None:
    net = spec.Network("wrong", {"row": Wrong(3, 2, fault)}, (8, 8, 1))
    with pytest.raises(UserError, match=message) as caught:
        reslab.create(net)
    assert str(caught.value).startswith("row_wrong1: Wrong.")


def test_a_part_without_a_keras_layer() -> None:
    @dataclass(frozen=True)
    class Bare(spec.Leaf):
        pass

    with pytest.raises(UserError, match="row_bare1: no model can be built: Bare has no method"):
        reslab.create(spec.Network("bare", {"row": Bare()}, (8, 8, 1)))


class Killed(BaseException):
    """Simulates a kill in this process."""


@TORCH
def test_trained_resumed_reported_and_loaded(
    apart: None, thirds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mock.patch.object(saved, "save", side_effect=Killed), pytest.raises(Killed):
        reslab.train(NETWORK, thirds, epochs=1, batch=64, out="run")
    run = reslab.resume("run")
    assert run.info["status"] == "done"
    assert run.network == replace(NETWORK, input_shape=(8, 8, 1))
    assert (run.path / "report.html").exists()
    model = reslab.load("run")
    assert model.output_shape == (None, 3)
    assert reslab.evaluate("run")["top1_error"]["value"] <= 1

    monkeypatch.delitem(serialize.REGISTERED, "Depthwise")
    with pytest.raises(UserError, match="the part Depthwise is not registered in this process"):
        reslab.Run.open("run").network  # noqa: B018


READ = """
import sys, reslab
from reslab import UserError
try:
    model = reslab.load(sys.argv[1])
    print(model.output_shape)
except UserError as error:
    print(error)
"""


@TORCH
def test_loading_in_a_process_without_the_part(apart: None, thirds: Path) -> None:
    """A model of stock layers can be loaded. For others the message names the module to import."""

    def load_in_new_process(path: str) -> str:
        command = [sys.executable, "-c", READ, path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    reslab.train(STOCK, thirds, epochs=1, batch=64, out="stock")
    assert load_in_new_process("stock") == "(None, 3)"
    reslab.train(NETWORK, thirds, epochs=1, batch=64, out="mine")
    assert load_in_new_process("mine") == (
        "mine/model.keras cannot be loaded as a model: the part Depthwise is not registered in this"
        " process: first import the Python module that defines it with @reslab.spec.register"
        " (tests.helpers.user_parts)"
    )


def test_a_part_that_is_not_registered_is_refused_before_training(
    apart: None, thirds: Path
) -> None:
    net = replace(STOCK, rows={**STOCK.rows, "conv1": Wrong()})
    with pytest.raises(UserError, match="Wrong cannot be saved: register it"):
        reslab.train(net, thirds, epochs=1, out="run")
    assert not Path("run").exists()
