"""What an evaluation of a run's own data holds for the report, on a trained run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from reslab.data import ArraySplit
from reslab.evaluation import evaluation, features, inspection, likely_labels
from reslab.evaluation.recorded_data import reload
from reslab.evaluation.scoring import outputs
from reslab.models import saved
from reslab.runs.run import Run
from tests.helpers.cli import output_of

KEYS = {"temperature", "examples", "map", "near_duplicates"}


def test_the_features_are_the_input_of_the_last_layer(trained: Run) -> None:
    data = reload(trained)
    assert data.test is not None
    model, _ = saved.load_with_card(trained.model_path)
    positions = np.array([3, 7, 20, 40])
    vectors = features.features(model, data.test, positions)
    assert vectors is not None
    assert vectors.shape == (4, 8)
    (network,) = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    dense: Any = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)][-1]
    kernel, bias = (np.asarray(weights) for weights in dense.get_weights())
    logits = vectors @ kernel + bias
    expected = outputs(model, data.test)[positions]
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(-1, keepdims=True), expected, atol=1e-5)


def test_a_head_of_convolutions_has_features_too() -> None:
    inner_input = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(5, 3, padding="same")(inner_input)
    x = keras.layers.Conv2D(2, 1)(keras.layers.ReLU()(x))
    network = keras.Model(inner_input, keras.layers.GlobalAveragePooling2D()(x), name="net")
    model = saved.end_to_end(network, (8, 8, 3), np.zeros(3), np.ones(3))
    split = ArraySplit.of(np.zeros((6, 8, 8, 3), np.uint8), np.array([0, 1] * 3))
    vectors = features.features(model, split, np.arange(6))
    assert vectors is not None
    assert vectors.shape == (6, 5)
    flat = keras.Model(network.input, keras.layers.Softmax()(network.output))
    assert features.features(flat, split, np.arange(6)) is None  # no network inside


def test_the_evaluation_of_a_training_has_all_and_another_one_has_the_same(trained: Run) -> None:
    stored = trained.evaluation
    assert stored is not None
    assert stored.keys() >= KEYS
    assert ("suspects" in stored) == likely_labels.installed()
    again = json.loads(json.dumps(evaluation.evaluate_on(trained, reload(trained), True)))
    different = {"when", "readings", "first_read", "command"}
    assert {k: v for k, v in again.items() if k not in different} == {
        k: v for k, v in stored.items() if k not in different
    }


def test_the_numbers_of_before_are_those_of_the_outputs_alone(trained: Run) -> None:
    data, stored = reload(trained), trained.evaluation
    assert data.test is not None
    assert stored is not None
    model, _ = saved.load_with_card(trained.model_path)
    probabilities = outputs(model, data.test)
    wrong = probabilities.argmax(-1) != data.test.labels
    assert stored["top1_error"]["value"] == wrong.mean()
    points = stored["map"]
    assert points["images"] == points["of"] == len(data.test)
    assert points["predicted"] == probabilities.argmax(-1).tolist()
    assert points["true"] == data.test.labels.tolist()


def test_other_data_have_no_such_entries(trained: Run, thirds: Path) -> None:
    data = reload(trained)
    result = evaluation.evaluate_on(trained, data, own_data=False, keep_seen=True)
    assert not KEYS & result.keys()


def test_large_parts_are_sampled(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "limit", lambda trained_on: 10)
    data = reload(trained)
    assert data.test is not None
    assert data.validation is not None
    model, _ = saved.load_with_card(trained.model_path)
    probabilities = outputs(model, data.test)
    evaluated = inspection.Evaluated("test", data.test, probabilities, data, 0)
    result = inspection.inspect(model, evaluated)
    assert result["map"]["images"] == result["examples"]["images"] == 10
    assert result["temperature"]["images"] == 10
    if likely_labels.installed():
        sizes = [(part["n"], part["of"]) for part in result["suspects"]["parts"]]
        assert sizes == [(len(data.test),) * 2, (10, len(data.validation))]


@pytest.mark.usefixtures("apart")
def test_the_json_of_the_command_has_no_pictures(trained: Run) -> None:
    shutil.copytree(trained.path, "copy")  # the command writes into the folder
    printed = json.loads(output_of("evaluate", "copy", "--json"))
    assert not {"mistakes", "examples", "map"} & printed.keys()
    assert "png" not in json.dumps(printed)
    assert "temperature" in printed
