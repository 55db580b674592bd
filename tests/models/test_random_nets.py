"""Random networks: counts, JSON, outputs and a training step."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab.core.errors import UserError
from reslab.models.build import create
from reslab.spec import (
    Conv,
    GlobalAvgPool,
    Network,
    Part,
    serialize,
    summary,
    walk,
)
from reslab.spec.transforms import plain
from tests.helpers.random_nets import CHANNELS, bodies, few, networks
from tests.helpers.reference import forward, randomise


@given(networks())
@settings(few, max_examples=150)
def test_any_network_has_consistent_counts_and_survives_json(net: Network) -> None:
    assert serialize.decode_network(json.loads(json.dumps(serialize.encode_network(net)))) == net
    layers = walk(net)
    assert len({layer.path for layer in layers}) == len(layers)
    counts, rows = summary.counts(net), summary.table(net)
    assert counts.trainable_params == sum(row["params"] for row in rows)
    assert counts.multiply_adds == sum(row["multiply_adds"] for row in rows)
    assert walk(plain(plain(net))) == walk(plain(net))


@pytest.mark.core
@given(networks())
@few
def test_any_network_builds_computes_and_trains(net: Network) -> None:
    model = create(net, data_format="channels_last")
    counts = summary.counts(net)
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert parameters == counts.trainable_params
    values = randomise(model)
    x = np.random.default_rng(0).normal(size=(4, *net.input_shape)).astype("float32")
    outputs, expected = model.predict_on_batch(x), forward(walk(net), values, x)
    assert np.abs(outputs - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-3)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    loss = model.train_on_batch(x, np.arange(4) % model.output_shape[-1])
    assert np.isfinite(float(loss))


@given(bodies, st.integers(1, 3))
@settings(few, max_examples=60)
def test_images_that_are_too_small_are_refused(body: Part, size: int) -> None:
    rows = {"stem": Conv(CHANNELS, 3), "a": (body, Conv(CHANNELS, 7, pad=0)), "head": GlobalAvgPool}
    with pytest.raises(UserError, match="does not fit"):
        walk(Network("small", rows, (size, size, 3)))
