"""A program as a Keras model again, with weights of its own."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
from keras import tree

from reslab.engines.program import READ, Call, Program, Value, is_a


def rebuild(program: Program) -> keras.Model:
    """Every call becomes a layer of its own; none of the first model's is touched."""
    given = keras.Input(program.input.shape[1:], name="images")
    seen = {program.input: given}
    names: Counter[str] = Counter()

    def filled(structure: Any) -> Any:
        return tree.map_structure(lambda x: seen[x] if isinstance(x, Value) else x, structure)

    for call in program.calls:
        names[call.op.name] += 1
        number = names[call.op.name]
        name = call.op.name if number == 1 else f"{call.op.name}_call{number}"
        layer = _copy(call, name)
        seen[call.output] = layer(*filled(call.args), **filled(dict(call.kwargs)))
        _fill(layer, call)
    return keras.Model(given, filled(program.outputs), name=f"{program.name}_folded")


def _copy(call: Call, name: str) -> Any:
    config = {**call.op.get_config(), "name": name}
    if isinstance(call.op, keras.Layer):
        config["dtype"] = "float32"
    for lora in ("lora_rank", "lora_alpha"):  # is in the weights
        config.pop(lora, None)
    if "use_bias" in config:
        config["use_bias"] = "bias" in call.weights
    return type(call.op).from_config(config)


def _fill(layer: Any, call: Call) -> None:
    if is_a(layer, *READ):
        for name, value in call.weights.items():
            getattr(layer, name).assign(value)
    elif isinstance(layer, keras.Layer) and layer.variables:
        for mine, first in zip(layer.variables, call.op.variables, strict=True):
            mine.assign(first)
