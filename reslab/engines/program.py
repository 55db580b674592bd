"""A Keras model as a flat list of calls, each with its weights as NumPy arrays.

Nested models are inlined, except for local response normalisation. Layers that do nothing at
inference (dropout, noise) are omitted. The model itself is not modified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers, tree

from reslab.acceleration.graph import call_nodes
from reslab.acceleration.local_response import recognised
from reslab.acceleration.stock_layers import has_hooks, has_user_value

_IDENTITY_NAMES = (  # layers that return their input at inference
    *("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"),
    *("Identity", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    # augmentation; RandomCrop is not among them, it crops the centre
    *("AugMix", "CutMix", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration"),
    *("RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing"),
    *("RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert"),
    *("RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation"),
    *("RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom"),
)
IDENTITIES = tuple(getattr(layers, name) for name in _IDENTITY_NAMES if hasattr(layers, name))
WEIGHTS = {  # the attributes that hold a layer's weights
    layers.Conv2D: ("kernel", "bias"),
    layers.DepthwiseConv2D: ("kernel", "bias"),
    layers.Dense: ("kernel", "bias"),
    layers.BatchNormalization: ("gamma", "beta", "moving_mean", "moving_variance"),
}

FLOAT32_POLICIES = "float32", "mixed_bfloat16", "mixed_float16"  # all have float32 weights


class Unsupported(Exception):
    """An engine cannot run the model; the message names the cause: "layer 'gru' (GRU)"."""


@dataclass(frozen=True, eq=False)
class SymbolicTensor:
    """An input or output of a call.

    `shape` includes the batch, whose size is always free; None is an unknown size.
    """

    shape: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or operation. `args` and `kwargs` contain its symbolic tensors."""

    op: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: SymbolicTensor
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def inputs(self) -> list[SymbolicTensor]:
        return symbolic_tensors((self.args, self.kwargs))

    def __str__(self) -> str:
        return f"layer {self.op.name!r} ({type(self.op).__name__})"


@dataclass(frozen=True)
class Program:
    """Calls in order of execution. `outputs` is a SymbolicTensor or a nested structure of them.

    `inputs` are in the order of the model's own; one input is called "images".
    """

    name: str
    inputs: Mapping[str, SymbolicTensor]
    calls: tuple[Call, ...]
    outputs: Any


def flatten(model: keras.Model) -> Program:
    """The program of a functional or sequential model; any layer is allowed.

    Raises Unsupported for a model with its own `call` method or with hooks, or with weights that
    are not float32.
    """
    _check_unchanged(model)
    function = _function(model)
    names = [x.name for x in function.inputs] if len(function.inputs) > 1 else ["images"]
    tensors = [_symbolic(x) for x in function.inputs]
    calls: list[Call] = []
    outputs = _append_calls(function, tensors, calls)
    # a sequential model has one output and no structure of outputs
    structure = model.output if isinstance(model, keras.Function) else model.outputs[0]
    inputs = dict(zip(names, tensors, strict=True))
    return Program(model.name, inputs, tuple(calls), tree.pack_sequence_as(structure, outputs))


def is_a(op: Any, *kinds: type) -> bool:
    """Whether `op` is a Keras layer of these classes, or reslab's subclass of one.

    A subclass from any other module may compute something else.
    """
    return type(op).__module__.split(".")[0] in ("keras", "reslab") and isinstance(op, kinds)


def symbolic_tensors(structure: Any) -> list[SymbolicTensor]:
    """All symbolic tensors in a nested structure, in order."""
    return [x for x in tree.flatten(structure) if isinstance(x, SymbolicTensor)]


def _symbolic(x: keras.KerasTensor) -> SymbolicTensor:
    return SymbolicTensor((None, *x.shape[1:]))


def _function(model: Any) -> keras.Function:
    """The graph of a functional or sequential model."""
    custom_call = not type(model).call.__module__.startswith("keras.")
    if custom_call or not getattr(model, "inputs", None):
        raise Unsupported(f"model {model.name!r}, which is not a functional or sequential model")
    if isinstance(model, keras.Function):
        return model
    return keras.Function(model.inputs, model.outputs)


def _append_calls(
    function: keras.Function, inputs: list[SymbolicTensor], calls: list[Call]
) -> list[SymbolicTensor]:
    """Append the calls of a graph to `calls`; returns its outputs."""
    tensors = dict(zip(map(id, function.inputs), inputs, strict=True))
    for node in call_nodes(function):
        arguments = node.arguments.args, node.arguments.kwargs
        args, kwargs = tree.map_structure(lambda x: tensors.get(id(x), x), arguments)
        outputs = _append_node(node, tuple(args), kwargs, calls)
        tensors.update(zip(map(id, node.outputs), outputs, strict=True))
    return [tensors[id(x)] for x in function.outputs]


def _append_node(node: Any, args: Any, kwargs: Any, calls: list[Call]) -> list[SymbolicTensor]:
    op = node.operation
    _check_unchanged(op)
    if is_a(op, *IDENTITIES):
        return symbolic_tensors((args, kwargs))[:1]
    if isinstance(op, keras.Model) and not recognised(op):
        return _append_calls(_function(op), _in_order(op, args, kwargs), calls)
    policy = getattr(op, "dtype_policy", None)
    if policy is not None and policy.name not in FLOAT32_POLICIES:
        raise Unsupported(f"layer {op.name!r}, which computes in {policy.name}")
    if len(node.outputs) != 1:
        raise Unsupported(f"layer {op.name!r}, which has several outputs")
    output = _symbolic(node.outputs[0])
    calls.append(Call(op, args, kwargs, output, _weights(op)))
    return [output]


def _check_unchanged(op: Any) -> None:
    """Raise Unsupported for a layer that does more than its class does: hooks, another `call`."""
    if has_hooks(op):
        raise Unsupported(f"the hooks of layer {op.name!r}")
    if has_user_value(op, "call"):
        raise Unsupported(f"layer {op.name!r}, whose call was replaced")


def _in_order(model: Any, args: Any, kwargs: Any) -> list[SymbolicTensor]:
    """What a model inside is called with, in the order of its inputs."""
    given = args[0] if args else kwargs.get("inputs")
    if isinstance(given, Mapping) and not isinstance(model.input, Mapping):
        given = [given.get(x.name) for x in tree.flatten(model.input)]
    tensors = tree.flatten(given)
    if len(tensors) != len(model.inputs) or len(symbolic_tensors(tensors)) != len(tensors):
        raise Unsupported(f"a call of model {model.name!r} with constants")
    return tensors


def _weights(op: Any) -> dict[str, np.ndarray]:
    names = next((names for kind, names in WEIGHTS.items() if is_a(op, kind)), ())
    variables = {name: getattr(op, name, None) for name in names}
    return {
        name: keras.ops.convert_to_numpy(variable)
        for name, variable in variables.items()
        if variable is not None
    }
