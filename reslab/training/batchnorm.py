"""Batch norm outside of the steps: frozen layers, and statistics measured again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from reslab.core.rng import Stream
from reslab.data import Normalization, Split, batches, laid_out
from reslab.models import stacked
from reslab.models.scopes import without_gradients


def freeze_bn(model: keras.Model, frozen: bool = True) -> None:
    """Batch norm with its running statistics, in training too, and scale and shift as they are."""
    for layer in layers_of(model, keras.layers.BatchNormalization):
        layer.trainable = not frozen
    for held in stacked.holders(model):
        held.freeze(norms_of(held), frozen)


def norms_of(held: stacked.Stacked) -> list[Any]:
    """Batch norm in one of the stacked units."""
    kind = keras.layers.BatchNormalization
    return [layer for layer in held.template_layers if isinstance(layer, kind)]


@dataclass(frozen=True)
class Norm:
    """A layer of batch norm, or one of a stacked unit, with its variables: they have a leading
    axis then, for `times` layers."""

    layer: Any
    own: dict[str, Any]
    times: int = 1


def all_norms(model: keras.Model) -> list[Norm]:
    flat = [
        Norm(layer, {v.name: v for v in layer.variables})
        for layer in layers_of(model, keras.layers.BatchNormalization)
    ]
    return flat + [
        Norm(layer, held.of(layer), held.stack.times)
        for held in stacked.holders(model)
        for layer in norms_of(held)
    ]


def recalibrate(
    model: keras.Model, split: Split, standardise: Normalization | None = None, batch: int = 256
) -> int:
    """Set batch norm's running mean and variance to those over all images of `split`.

    One pass over the un-augmented images, shuffled, for a folder has them class by class, each
    batch normalised by itself, without dropout: means and mean squares of each layer's input are
    summed, so that the variance is that of all images, biased as Keras's, not the mean of the
    batches'. The moving averages of training, which forget, play no part (as in the released nets
    of He 2015). `standardise` None gives the model raw images. Returns the number of layers, 0
    where there is no batch norm.
    """
    norms = all_norms(model)
    if not norms:
        return 0
    raw = Normalization(np.zeros((1, 1, 1), "float32"), np.ones((1, 1, 1), "float32"))
    even = -(-len(split) // -(-len(split) // batch))  # no last batch of one image
    split = split.take(Stream(0, "recalibrate").permutation(len(split)))
    sums: list[list[Any]] = [[0.0, 0.0] for _ in norms]
    with _measuring(model, [norm.layer for norm in norms]):
        for x, _ in batches(split, even, standardise or raw):
            model(laid_out(x, model.input_shape), training=True)
            for total, norm in zip(sums, norms, strict=True):
                mean, variance = (
                    np.asarray(keras.ops.convert_to_numpy(v), "float64")
                    for v in (norm.own["moving_mean"], norm.own["moving_variance"])
                )
                total[0] += len(x) * mean
                total[1] += len(x) * (variance + mean**2)
    for (first, second), norm in zip(sums, norms, strict=True):
        mean = first / len(split)
        norm.own["moving_mean"].assign(np.asarray(mean, "float32"))
        norm.own["moving_variance"].assign(
            np.asarray(np.maximum(second / len(split) - mean**2, 0), "float32")
        )
    return sum(norm.times for norm in norms)


@contextlib.contextmanager
def _measuring(model: keras.Model, norms: Sequence[Any]) -> Iterator[None]:
    """A call with training=True leaves each batch's own statistics, and drops nothing."""
    inside = [layer for held in stacked.holders(model) for layer in held.template_layers]
    dropouts = layers_of(model, keras.layers.Dropout)
    dropouts += [layer for layer in inside if isinstance(layer, keras.layers.Dropout)]
    before = [(n, n.momentum, n.trainable) for n in norms], [(d, d.rate) for d in dropouts]
    try:
        for norm in norms:
            norm.momentum, norm.trainable = 0.0, True
        for dropout in dropouts:
            dropout.rate = 0.0
        with without_gradients():
            yield
    finally:
        for norm, momentum, trainable in before[0]:
            norm.momentum, norm.trainable = momentum, trainable
        for dropout, rate in before[1]:
            dropout.rate = rate


def layers_of(model: keras.Model, kind: type) -> list[Any]:
    """The layers of a kind, those of models inside the model too."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += layers_of(layer, kind)
        elif isinstance(layer, kind):
            found.append(layer)
    return found
