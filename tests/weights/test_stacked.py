"""`weights.flatten` and `weights.stack` preserve the model bit for bit."""

from __future__ import annotations

import math

import keras
import pytest

from reslab import weights
from reslab.core.errors import UserError
from reslab.models import stacked
from reslab.training.batchnorm import freeze_bn
from reslab.training.setup import precision
from tests.helpers.reference import randomise
from tests.helpers.stacked_nets import SMALL, X, build, close, same, values

pytestmark = pytest.mark.core


def test_flatten_and_stack_are_inverse() -> None:
    model = build(SMALL, stacked=True)
    randomise(model)
    flat = weights.flatten(model)
    assert not stacked.holders(flat)
    same(values(flat), values(model))
    assert [x.name for x in flat.layers] == [x.name for x in build(SMALL).layers]
    restacked = weights.stack(flat, SMALL, remat=True)
    assert [x.name for x in restacked.layers] == [x.name for x in model.layers]
    same(values(restacked), values(model))
    close({"y": flat.predict_on_batch(X)}, {"y": restacked.predict_on_batch(X)})


def test_a_model_inside_another_is_flattened() -> None:
    image = keras.Input(SMALL.input_shape, name="outside")
    inner = build(SMALL, stacked=True)
    randomise(inner)
    outer = keras.Model(image, keras.layers.Softmax(name="p")(inner(image * 2)), name="outer")
    flat = weights.flatten(outer)
    assert not stacked.holders(flat)
    close({"y": flat.predict_on_batch(X)}, {"y": outer.predict_on_batch(X)})
    assert len(values(outer)) == len(values(inner))


def test_frozen_layers_stay_frozen() -> None:
    def trainable_parameters(model: keras.Model) -> int:
        return sum(math.prod(v.shape) for v in model.trainable_variables)

    model = build(SMALL, stacked=True)
    total = trainable_parameters(model)
    freeze_bn(model)
    flat = weights.flatten(model)
    restacked = weights.stack(flat, SMALL)
    count = trainable_parameters(model)
    assert total > count == trainable_parameters(flat) == trainable_parameters(restacked)
    norms = [x for x in flat.layers if isinstance(x, keras.layers.BatchNormalization)]
    norms[-1].trainable = True
    with pytest.raises(UserError, match="not all are frozen"):
        weights.stack(flat, SMALL)


def test_mixed_precision_is_kept() -> None:
    with precision("mixed"):
        model = build(SMALL, stacked=True)
    flat = weights.flatten(model)
    restacked = weights.stack(flat, SMALL)
    dtypes = [keras.backend.standardize_dtype(m(X).dtype) for m in (model, flat, restacked)]
    assert dtypes == ["bfloat16"] * 3
