"""A small network with repeated units, and functions that compare flat and stacked models."""

from __future__ import annotations

import keras
import numpy as np

from reslab.models import stacked
from reslab.models.build import create, variables
from reslab.spec import (
    BN,
    Conv,
    Dense,
    Dropout,
    Gate,
    GlobalAvgPool,
    Network,
    ReLU,
    Repeat,
    Residual,
)
from reslab.zoo.identity_mappings import first_stage, preact_released

UNIT = Residual((Conv(4, 3, bias=True), BN(), ReLU, Dropout(0.3)), (), join=Gate("exclusive", -1.0))


SMALL = Network(
    "small",
    {
        "conv1": Conv(4, 3),
        "a": Repeat((Conv(4, 3), BN(), ReLU), 2),
        "b": (Repeat(UNIT, 3), Conv(8, 3, 2), ReLU),
        "c": first_stage(preact_released, 4, 4),
        "head": (GlobalAvgPool, Dense(3)),
    },
    (6, 6, 2),
)


X = np.random.default_rng(0).normal(size=(6, 6, 6, 2)).astype("float32")


def build(net: Network, **options: bool) -> keras.Model:
    """Create and compile a model. The seed is the same for all models."""
    keras.utils.set_random_seed(5)
    model = create(net, data_format="channels_last", **options)
    sgd = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(sgd, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """Return all variables by the paths of the flat model."""
    return stacked.read(variables(model))


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Assert that all arrays are equal."""
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], name)


def close(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Assert that arrays agree to 1e-4 of the largest value (float32 sums in another order)."""
    assert a.keys() == b.keys()
    for name in a:
        assert np.abs(a[name] - b[name]).max() <= 1e-4 * max(np.abs(b[name]).max(), 0.1), name
