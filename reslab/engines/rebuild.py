"""From a program back to a Keras model, with copies of the weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
from keras import tree

from reslab.acceleration.local_response import recognised
from reslab.engines.program import WEIGHTS, Call, Program, SymbolicTensor, is_a


def rebuild(program: Program) -> keras.Model:
    """Build a Keras model with one new layer per call; the original layers are not modified.

    It takes one tensor, or a list of them in the order of the program's inputs.
    """
    keras_tensors = {x: keras.Input(x.shape[1:], name=name) for name, x in program.inputs.items()}
    inputs = list(keras_tensors.values())
    names = Counter(list(program.inputs))

    def substitute(structure: Any) -> Any:
        return tree.map_structure(
            lambda x: keras_tensors[x] if isinstance(x, SymbolicTensor) else x, structure
        )

    for call in program.calls:
        names[call.op.name] += 1
        number = names[call.op.name]
        name = call.op.name if number == 1 else f"{call.op.name}_call{number}"
        layer = _copy(call, name)
        keras_tensors[call.output] = layer(*substitute(call.args), **substitute(dict(call.kwargs)))
        _assign_weights(layer, call)
    outputs = substitute(program.outputs)
    taken = inputs[0] if len(inputs) == 1 else inputs
    return keras.Model(taken, outputs, name=f"{program.name}_folded")


def _copy(call: Call, name: str) -> Any:
    if norm := recognised(call.op):
        return norm.model(call.output.shape[1:], name)
    config = {**call.op.get_config(), "name": name}
    if isinstance(call.op, keras.Layer):
        config["dtype"] = "float32"
    for setting in ("lora_rank", "lora_alpha"):  # the weights include the adapters
        config.pop(setting, None)
    if "use_bias" in config:
        config["use_bias"] = "bias" in call.weights
    return type(call.op).from_config(config)


def _assign_weights(layer: Any, call: Call) -> None:
    if is_a(layer, *WEIGHTS):
        for name, value in call.weights.items():
            getattr(layer, name).assign(value)
    elif isinstance(layer, keras.Layer) and layer.variables:
        for variable, original in zip(layer.variables, call.op.variables, strict=True):
            # a copy: on JAX a call of one model may delete the arrays that it shares with another
            variable.assign(np.array(keras.ops.convert_to_numpy(original)))
