"""Batch norm on TensorFlow by its fused operation; what else Keras calls there is fused already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import layers

from reslab.acceleration.stock_layers import plain

LOW = tf.float16, tf.bfloat16  # the operation takes them and sums in float32, as Keras does


def call_of(layer: Any) -> Callable[..., Any] | None:
    """What to replace `layer.call` by; None where Keras's own stays."""
    usual = type(layer) is layers.BatchNormalization and plain(layer)
    if not usual or layer.renorm or layer.synchronized or layer.variable_dtype != "float32":
        return None  # the operation's own numbers are float32
    return _fused(layer)


def _fused(layer: Any) -> Callable[..., Any]:
    own = type(layer).call
    features = layer.moving_mean.shape[0]
    ones, zeros = [1.0] * features, [0.0] * features

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        # the operation knows maps with the channels last; on a GPU other orders too, by copies
        if mask is not None or inputs.shape.rank != 4 or layer.axis % 4 != 3:
            return own(layer, inputs, training=training, mask=mask)
        learns = bool(training and layer.trainable)
        x = inputs if inputs.dtype in LOW else tf.cast(inputs, tf.float32)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=tf.convert_to_tensor(layer.gamma if layer.scale else ones),
            offset=tf.convert_to_tensor(layer.beta if layer.center else zeros),
            mean=[] if learns else tf.convert_to_tensor(layer.moving_mean),
            variance=[] if learns else tf.convert_to_tensor(layer.moving_variance),
            epsilon=layer.epsilon,
            is_training=learns,
        )
        if learns:
            # biased, as Keras has it: the operation gives n / (n - 1) times as much
            n = tf.cast(tf.size(x) // features, tf.float32)
            biased = variance * ((n - 1) / n)
            keep = layer.momentum
            layer.moving_mean.assign(layer.moving_mean * keep + mean * (1 - keep))
            layer.moving_variance.assign(layer.moving_variance * keep + biased * (1 - keep))
        return tf.cast(y, layer.compute_dtype)

    return call
