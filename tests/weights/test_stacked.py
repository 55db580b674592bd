"""`weights.flatten` and `weights.stack`: the same model, to the bit."""

from __future__ import annotations

import math

import keras
import pytest

from reslab import weights
from reslab.core.errors import UserError
from reslab.models import stacked
from reslab.training.batchnorm import freeze_bn
from reslab.training.loop import precision
from tests.helpers.reference import randomise
from tests.models.test_stacked import SMALL, X, close, made, same, values

pytestmark = pytest.mark.core


def test_flat_and_stacked_convert_into_each_other_exactly() -> None:
    model = made(SMALL, stacked=True)
    randomise(model)
    flat = weights.flatten(model)
    assert not stacked.holders(flat)
    same(values(flat), values(model))
    assert [x.name for x in flat.layers] == [x.name for x in made(SMALL).layers]
    again = weights.stack(flat, SMALL, remat=True)
    assert [x.name for x in again.layers] == [x.name for x in model.layers]
    same(values(again), values(model))
    close({"y": flat.predict_on_batch(X)}, {"y": again.predict_on_batch(X)})


def test_a_model_inside_another_is_flattened() -> None:
    image = keras.Input(SMALL.input_shape, name="outside")
    inner = made(SMALL, stacked=True)
    randomise(inner)
    whole = keras.Model(image, keras.layers.Softmax(name="p")(inner(image * 2)), name="whole")
    flat = weights.flatten(whole)
    assert not stacked.holders(flat)
    close({"y": flat.predict_on_batch(X)}, {"y": whole.predict_on_batch(X)})
    assert len(values(whole)) == len(values(inner))


def test_what_stands_still_does_so_flat_and_stacked() -> None:
    def moving(model: keras.Model) -> int:
        return sum(math.prod(v.shape) for v in model.trainable_variables)

    model = made(SMALL, stacked=True)
    everything = moving(model)
    freeze_bn(model)
    flat = weights.flatten(model)
    again = weights.stack(flat, SMALL)
    assert everything > moving(model) == moving(flat) == moving(again)
    norms = [x for x in flat.layers if isinstance(x, keras.layers.BatchNormalization)]
    norms[-1].trainable = True
    with pytest.raises(UserError, match="not all are frozen"):
        weights.stack(flat, SMALL)


def test_mixed_precision_is_kept_flat_and_stacked() -> None:
    with precision("mixed"):
        model = made(SMALL, stacked=True)
    flat = weights.flatten(model)
    again = weights.stack(flat, SMALL)
    dtypes = [keras.backend.standardize_dtype(m(X).dtype) for m in (model, flat, again)]
    assert dtypes == ["bfloat16"] * 3
