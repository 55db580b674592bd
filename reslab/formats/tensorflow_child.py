"""Write a SavedModel or a LiteRT file, in a process where Keras runs on TensorFlow.

    python -m reslab.formats.tensorflow_child saved_model MODEL.keras VIEW.npz OUT

In a process of its own, Keras runs on TensorFlow whatever backend the caller uses, and the model
comes from its stock file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core import records


def main(kind: str, model_path: str, view_path: str, out: str) -> None:
    """Write the model with its view as `kind`, "saved_model" or "litert"."""
    import keras
    import tensorflow as tf

    from reslab.acceleration.accelerate import accelerate

    model = accelerate(keras.saving.load_model(model_path, compile=False), undo=True)
    view = View(np.load(view_path))
    if kind == "saved_model":
        _saved_model(tf, model, view, out)
    else:
        _litert(tf, model, view, out)


class View:
    """The operations of a view (`reslab.formats.whole.view`), read from a file, in TensorFlow."""

    def __init__(self, file: Mapping[str, Any]) -> None:
        self.plan = records.parse(str(file["plan"]))
        self.constants = {name: file[name] for name in self.plan["constants"]}

    @property
    def shape(self) -> list[int | None]:
        """(n, height, width, channels) of the pictures; None is any."""
        return list(self.plan["shape"])

    def __call__(self, images: Any) -> Any:
        values: dict[str, Any] = {"images": images, **self.constants}
        for op in self.plan["ops"]:
            inputs = [values[name] for name in op["inputs"]]
            values[op["output"]] = _operation(op["kind"])(*inputs, **op["attributes"])
        return values["view"]


def _operation(kind: str) -> Callable[..., Any]:
    """An operation of ONNX in TensorFlow."""
    import tensorflow as tf

    types = {1: tf.float32, 11: tf.float64}
    table: dict[str, Callable[..., Any]] = {
        "Abs": tf.abs,
        "Add": tf.add,
        "Cast": lambda x, to: tf.cast(x, types[to]),
        "Clip": tf.clip_by_value,
        "Cos": tf.cos,
        "Div": tf.divide,
        "Floor": tf.floor,
        "Gather": lambda x, indices, axis: tf.gather(x, indices, axis=axis),
        "Less": tf.less,
        # matmul of a stack with one matrix is wrong with oneDNN in TensorFlow 2.21
        "MatMul": lambda x, y: tf.tensordot(x, y, 1) if len(y.shape) == 2 else tf.matmul(x, y),
        "Max": tf.maximum,
        "Min": tf.minimum,
        "Mul": tf.multiply,
        "Range": lambda *ends: tf.range(*(tf.reshape(end, ()) for end in ends)),
        "ReduceSum": lambda x, axes, keepdims: tf.reduce_sum(x, axes, bool(keepdims)),
        "Round": tf.round,
        "Shape": lambda x: tf.shape(x, tf.int64),
        "Sin": tf.sin,
        "Sub": tf.subtract,
        "Transpose": lambda x, perm: tf.transpose(x, perm),
        "Where": tf.where,
    }
    return table[kind]


def _saved_model(tf: Any, model: Any, view: View, out: str) -> None:
    whole = tf.Module()
    whole.model = model
    height, width, channels = model.input_shape[1:]
    pictures = tf.TensorSpec(view.shape, tf.uint8, "images")
    images = tf.TensorSpec([None, height, width, channels], tf.float32, "images")

    def probabilities(images: Any) -> dict[str, Any]:
        return {"probabilities": model(images, training=False)}

    def serve(images: Any) -> dict[str, Any]:
        return probabilities(view(images))

    def seen(images: Any) -> dict[str, Any]:
        return {"view": view(images)}

    signatures = {
        "serving_default": tf.function(serve).get_concrete_function(pictures),
        "view": tf.function(seen).get_concrete_function(pictures),
        "network": tf.function(probabilities).get_concrete_function(images),
    }
    tf.saved_model.save(whole, out, signatures)


def _litert(tf: Any, model: Any, view: View, out: str) -> None:
    """As a Keras model: from functions, the converter of TensorFlow 2.21 loses the variables."""
    import keras

    class Viewed(keras.layers.Layer):
        def call(self, images: Any) -> Any:
            return view(images)

    images = keras.Input(view.shape[1:], dtype="uint8", name="images")
    whole = keras.Model(images, model(Viewed(dtype="float32")(images)))
    Path(out).write_bytes(tf.lite.TFLiteConverter.from_keras_model(whole).convert())


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "tensorflow"
    main(*sys.argv[1:])
