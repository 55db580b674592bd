"""Random networks build, count, survive JSON and train."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reslab.core.errors import UserError
from reslab.models.build import create
from reslab.spec import (
    BN,
    AvgPool,
    Concat,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    MaxPool,
    Network,
    Part,
    ReLU,
    Repeat,
    Residual,
    ZeroPadShortcut,
    serialize,
    summary,
    walk,
)
from reslab.spec.transforms import plain
from tests.helpers.reference import forward, randomise

CHANNELS = 4  # every part keeps the channels, so any sequence of parts fits

same_size = st.one_of(
    st.builds(
        Conv,
        st.just(CHANNELS),
        st.sampled_from([1, 3, 5]),
        groups=st.sampled_from([1, 2, 4]),
        bias=st.booleans(),
        dilation=st.sampled_from([1, 2]),
    ),
    st.builds(BN, epsilon=st.sampled_from([1e-5, 1e-3]), gamma=st.sampled_from([1.0, 0.0])),
    st.just(ReLU),
    st.builds(Dropout, st.just(0.25)),
    st.builds(MaxPool, st.just(3), st.just(1)),
    st.builds(AvgPool, st.just(3), st.just(1), st.just(1)),
)
shrinking = st.one_of(
    st.builds(
        Conv, st.just(CHANNELS), st.just(3), st.just(2), pad=st.sampled_from(["even", "same"])
    ),
    st.builds(MaxPool, st.just(3), st.just(2), pad=st.sampled_from(["even", "same"])),
    st.builds(AvgPool, st.just(2), st.just(2)),
)


def inside(part: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    chain = st.lists(part, max_size=3).map(tuple)
    residual = st.builds(
        Residual,
        body=chain,
        shortcut=st.just(Conv(CHANNELS, 1)),
        lead=st.sampled_from([(), (BN(), ReLU)]),
        tail=st.sampled_from([(), (ReLU,)]),
        when=st.sampled_from(["change", "always"]),
    )
    branches = st.lists(chain, min_size=1, max_size=3).map(
        lambda each: (Concat(tuple(each)), Conv(CHANNELS, 1))
    )
    return st.one_of(chain, residual, branches, st.builds(Repeat, residual, st.integers(0, 3)))


bodies = st.recursive(same_size, inside, max_leaves=8)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    option_a = Residual(Conv(2 * CHANNELS, 3, 2), ZeroPadShortcut(2 * CHANNELS, 2), tail=(ReLU,))
    rows: dict[str, Part] = {"stem": Conv(CHANNELS, 3)}
    for i in range(draw(st.integers(1, 2))):
        rows[f"row{i}"] = (draw(bodies), draw(shrinking))
    rows["last"] = (draw(bodies), draw(st.sampled_from([(), option_a])))
    rows["head"] = (GlobalAvgPool, Dense(draw(st.integers(2, 5))))
    size = draw(st.integers(9, 14)), draw(st.integers(9, 14))
    return Network("random", rows, (*size, draw(st.sampled_from([1, 3]))))


few = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,  # the same networks on every machine: failures can be repeated
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@given(networks())
@settings(few, max_examples=150)
def test_any_network_counts_and_survives_json(net: Network) -> None:
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
    counted = summary.counts(net)
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert parameters == counted.trainable_params
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
