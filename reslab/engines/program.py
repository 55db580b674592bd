"""A Keras model as a flat list of calls, each with its weights as numpy arrays.

Models within the model are written out, and what does nothing at inference (dropout, noise) is
left out. The model itself is only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers, tree

IDLE = (  # these hand on what they get, outside of training
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.SpatialDropout2D,
)
READ = {  # the weights that are looked at, by layer
    layers.Conv2D: ("kernel", "bias"),
    layers.DepthwiseConv2D: ("kernel", "bias"),
    layers.Dense: ("kernel", "bias"),
    layers.BatchNormalization: ("gamma", "beta", "moving_mean", "moving_variance"),
}

FULL = "float32", "mixed_bfloat16", "mixed_float16"  # policies whose weights are float32


class Unsupported(Exception):
    """What stands in an engine's way, as a phrase: "layer 'gru' (GRU)"."""


@dataclass(frozen=True, eq=False)
class Value:
    """What flows between calls. `shape` has the batch in front, and None for open sizes."""

    shape: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """A layer, or an operation, at one place. `args` and `kwargs` hold Values among others."""

    op: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Value
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def inputs(self) -> list[Value]:
        return values((self.args, self.kwargs))

    def __str__(self) -> str:
        return f"layer {self.op.name!r} ({type(self.op).__name__})"


@dataclass(frozen=True)
class Program:
    """Calls in order of computation. `outputs` is a Value, or a structure of them."""

    name: str
    input: Value
    calls: tuple[Call, ...]
    outputs: Any


def flatten(model: keras.Model) -> Program:
    """Raises Unsupported where the computation is code of its own or not all of float32 weights,
    and for models of several inputs. Which layers are in the model does not matter here."""
    function = _function(model)
    if len(function.inputs) != 1:
        raise Unsupported(f"model {model.name!r}, which has {len(function.inputs)} inputs")
    given = Value(tuple(function.inputs[0].shape))
    calls: list[Call] = []
    outputs = _write_out(function, [given], calls)
    # a sequential model gives one array, and has no structure of outputs
    structure = model.output if isinstance(model, keras.Function) else model.outputs[0]
    return Program(model.name, given, tuple(calls), tree.pack_sequence_as(structure, outputs))


def is_a(op: Any, *kinds: type) -> bool:
    """Whether it is one of Keras's layers of these kinds, or reslab's stand-in for one.

    A class of somebody else's may compute anything.
    """
    return type(op).__module__.split(".")[0] in ("keras", "reslab") and isinstance(op, kinds)


def values(structure: Any) -> list[Value]:
    """All Values in a structure of arguments, in order."""
    return [x for x in tree.flatten(structure) if isinstance(x, Value)]


def _function(model: Any) -> keras.Function:
    """The graph of a functional or sequential model, to be read."""
    own_code = not type(model).call.__module__.startswith("keras.")
    if own_code or not getattr(model, "inputs", None):
        raise Unsupported(f"model {model.name!r}, whose computation is code of its own")
    if isinstance(model, keras.Function):
        return model
    return keras.Function(model.inputs, model.outputs)


def _write_out(function: keras.Function, given: list[Value], calls: list[Call]) -> list[Value]:
    """Append the calls of a graph; returns the values of its outputs."""
    seen = dict(zip(map(id, function.inputs), given, strict=True))
    for depth in sorted(function._nodes_by_depth, reverse=True):
        for node in function._nodes_by_depth[depth]:
            if node.is_input or any(id(x) not in seen for x in node.input_tensors):
                continue
            arguments = node.arguments.args, node.arguments.kwargs
            args, kwargs = tree.map_structure(lambda x: seen.get(id(x), x), arguments)
            for x, value in zip(node.outputs, _made(node, tuple(args), kwargs, calls), strict=True):
                seen[id(x)] = value
    return [seen[id(x)] for x in function.outputs]


def _made(node: Any, args: Any, kwargs: Any, calls: list[Call]) -> list[Value]:
    op = node.operation
    if is_a(op, *IDLE):
        return [args[0]]
    if isinstance(op, keras.Model):
        return _write_out(_function(op), values(args), calls)
    policy = getattr(op, "dtype_policy", None)
    if policy is not None and policy.name not in FULL:
        raise Unsupported(f"layer {op.name!r}, which computes in {policy.name}")
    if len(node.outputs) != 1:
        raise Unsupported(f"layer {op.name!r}, which has several outputs")
    output = Value(tuple(node.outputs[0].shape))
    calls.append(Call(op, args, kwargs, output, _weights(op)))
    return [output]


def _weights(op: Any) -> dict[str, np.ndarray]:
    names = next((names for kind, names in READ.items() if is_a(op, kind)), ())
    found = {name: getattr(op, name, None) for name in names}
    return {
        name: keras.ops.convert_to_numpy(value)
        for name, value in found.items()
        if value is not None
    }
