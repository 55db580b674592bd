"""Batch norm between the steps: freezing it, and measuring its statistics again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from reslab.core.rng import Stream
from reslab.data import Normalization, Split, batches, to_layout
from reslab.models import stacked
from reslab.models.scopes import without_gradients


def freeze_bn(model: keras.Model, frozen: bool = True) -> None:
    """Freeze batch norm: training uses its running statistics too, and no variable changes."""
    for layer in layers_of(model, keras.layers.BatchNormalization):
        layer.trainable = not frozen
    for holder in stacked.holders(model):
        holder.freeze(norms_of(holder), frozen)


def norms_of(holder: stacked.Stacked) -> list[Any]:
    """The batch norm layers of one of the stacked units."""
    kind = keras.layers.BatchNormalization
    return [layer for layer in holder.template_layers if isinstance(layer, kind)]


@dataclass(frozen=True)
class Norm:
    """A batch norm layer with its variables by name.

    In a stacked unit it stands for `times` layers, and its variables have a leading axis for them.
    """

    layer: Any
    variables: dict[str, Any]
    times: int = 1


def all_norms(model: keras.Model) -> list[Norm]:
    flat = [
        Norm(layer, {v.name: v for v in layer.variables})
        for layer in layers_of(model, keras.layers.BatchNormalization)
    ]
    return flat + [
        Norm(layer, holder.of(layer), holder.stack.times)
        for holder in stacked.holders(model)
        for layer in norms_of(holder)
    ]


def recalibrate(
    model: keras.Model, split: Split, normalise: Normalization | None = None, batch: int = 256
) -> int:
    """Measure batch norm's running mean and variance again, over all images of a split.

    One pass over the images without augmentation and without dropout, in a shuffled order, because
    folders list their images class by class. Each batch is normalised by its own statistics. Means
    and mean squares of each layer's input are summed, so that the variance is that of all images
    (biased, as in Keras), not the mean of the batches' variances. The moving averages of the
    training are replaced, as in the released networks of He et al. 2015.

    Args:
        model: A Keras model; its batch norm layers are changed in place.
        split: Images and labels, such as `reslab.data.load(...).train`.
        normalise: The normalisation that the model expects. None gives the model raw images of
            0 to 255, as whole models expect them.
        batch: Images per forward pass. It changes the result slightly.

    Returns:
        The number of batch norm layers; 0 if there are none.
    """
    norms = all_norms(model)
    if not norms:
        return 0
    raw = Normalization(np.zeros((1, 1, 1), "float32"), np.ones((1, 1, 1), "float32"))
    even = -(-len(split) // -(-len(split) // batch))  # so that the last batch is not a single image
    split = split.take(Stream(0, "recalibrate").permutation(len(split)))
    sums: list[list[Any]] = [[0.0, 0.0] for _ in norms]
    with _measuring(model, [norm.layer for norm in norms]):
        for x, _ in batches(split, even, normalise or raw):
            model(to_layout(x, model.input_shape), training=True)
            for total, norm in zip(sums, norms, strict=True):
                mean, variance = (
                    np.asarray(keras.ops.convert_to_numpy(v), "float64")
                    for v in (norm.variables["moving_mean"], norm.variables["moving_variance"])
                )
                total[0] += len(x) * mean
                total[1] += len(x) * (variance + mean**2)
    for (first, second), norm in zip(sums, norms, strict=True):
        mean = first / len(split)
        norm.variables["moving_mean"].assign(np.asarray(mean, "float32"))
        norm.variables["moving_variance"].assign(
            np.asarray(np.maximum(second / len(split) - mean**2, 0), "float32")
        )
    return sum(norm.times for norm in norms)


@contextlib.contextmanager
def _measuring(model: keras.Model, norms: Sequence[Any]) -> Iterator[None]:
    """Inside, a call with training=True stores the batch's own statistics; dropout is off."""
    inside = [layer for holder in stacked.holders(model) for layer in holder.template_layers]
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
    """The layers of a kind, with those of models inside the model."""
    layers = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            layers += layers_of(layer, kind)
        elif isinstance(layer, kind):
            layers.append(layer)
    return layers
