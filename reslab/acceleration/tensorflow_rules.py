"""Batch norm on TensorFlow by the fused operation; Keras's other calls are fused already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import layers

from reslab.acceleration.stock_layers import plain

LOW_PRECISION = tf.float16, tf.bfloat16  # the operation sums in float32, as Keras does


def call_of(layer: Any) -> Callable[..., Any] | None:
    """Make the function that replaces `layer.call`; None if Keras's own stays."""
    stock = type(layer) is layers.BatchNormalization and plain(layer)
    if not stock or layer.renorm or layer.synchronized or layer.variable_dtype != "float32":
        return None  # the operation's statistics are float32
    return _fused(layer)


def _fused(layer: Any) -> Callable[..., Any]:
    keras_call = type(layer).call
    features = layer.moving_mean.shape[0]
    ones, zeros = [1.0] * features, [0.0] * features

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        # the operation needs NHWC; on a GPU it takes NCHW too, but copies
        if mask is not None or inputs.shape.rank != 4 or layer.axis % 4 != 3:
            return keras_call(layer, inputs, training=training, mask=mask)
        update = bool(training and layer.trainable)
        x = inputs if inputs.dtype in LOW_PRECISION else tf.cast(inputs, tf.float32)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=tf.convert_to_tensor(layer.gamma if layer.scale else ones),
            offset=tf.convert_to_tensor(layer.beta if layer.center else zeros),
            mean=[] if update else tf.convert_to_tensor(layer.moving_mean),
            variance=[] if update else tf.convert_to_tensor(layer.moving_variance),
            epsilon=layer.epsilon,
            is_training=update,
        )
        if update:
            # biased, as in Keras: the operation's variance is n / (n - 1) times as large
            n = tf.cast(tf.size(x) // features, tf.float32)
            biased = variance * ((n - 1) / n)
            momentum = layer.momentum
            layer.moving_mean.assign(layer.moving_mean * momentum + mean * (1 - momentum))
            layer.moving_variance.assign(layer.moving_variance * momentum + biased * (1 - momentum))
        return tf.cast(y, layer.compute_dtype)

    return call
