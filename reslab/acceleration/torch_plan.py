"""A functional model as a list of PyTorch calls, and single layers as one call each.

Keras runs scopes, checks and casts around each layer, which cost more than the arithmetic of a
small layer. A plan resolves them once, from the graph of the model. Layers without a rule are
called through Keras.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, TypeVar

import keras
import torch
from keras import layers
from torch import Tensor

from reslab.acceleration import keras_internals as internals
from reslab.acceleration.graph import call_nodes
from reslab.acceleration.keras_internals import AutocastScope, Functional
from reslab.acceleration.local_response import recognised
from reslab.acceleration.stock_layers import state
from reslab.acceleration.torch_compile import CompiledSegment, compilation_enabled
from reslab.acceleration.torch_memory import LAST, match
from reslab.acceleration.torch_rules import Run, Statistics, TorchOp, lowered, to_nchw, to_nhwc

T = TypeVar("T")
ANY = None  # the layer takes maps in either order of axes
_GLOBAL_HOOKS = [  # of all modules, as `register_module_forward_hook` registers them
    hooks
    for name, hooks in vars(torch.nn.modules.module).items()
    if name.startswith(("_global_forward", "_global_backward")) and isinstance(hooks, dict)
]
_SLOW = layers.Conv2D, layers.BatchNormalization


def call_of(layer: Any) -> Callable[..., Any] | None:
    """Make the function that replaces `layer.call`; None if Keras's own stays."""
    if isinstance(layer, Functional):
        if type(layer).call is not Functional.call or _masks(layer):
            return None
        return _planned(layer)
    # Keras's own call of the other kinds is as fast
    return _single(layer) if isinstance(layer, _SLOW) and lowered(layer) else None


def _masks(model: Any) -> bool:
    """Whether the model may pass masks between its layers, which only Keras's own calls do."""
    return any(
        isinstance(x, layers.Masking | layers.Embedding) for x in internals.flatten_layers(model)
    )


def _cached(make: Callable[[Any], T], key: Callable[[Any], Any], layer: Any) -> Callable[[], T]:
    """Return a function that gives `make(layer)`, made again when `key(layer)` has changed."""
    result, last_key = make(layer), key(layer)

    def get() -> T:
        nonlocal result, last_key
        if last_key != (current_key := key(layer)):
            result, last_key = make(layer), current_key
        return result

    return get


def _states(model: Any) -> list[tuple[Any, ...]]:
    return [state(layer) for layer in internals.layers_of(model)]


def _single(layer: Any) -> Callable[..., Any]:
    keras_call, get = type(layer).call, _cached(lowered, state, layer)

    if isinstance(layer, layers.Conv2D):
        nhwc = layer.data_format == "channels_last"

        def convolve(inputs: Any) -> Any:
            if (op := get()) is None:
                return keras_call(layer, inputs)
            return to_nhwc(op.run(False, to_nchw(inputs))) if nhwc else op.run(False, inputs)

        return convolve

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        transposes = _transposes(layer, inputs.dim())
        if mask is not None or transposes is NotImplemented or (op := get()) is None:
            return keras_call(layer, inputs, training=training, mask=mask)
        with Statistics():
            if transposes:
                return to_nhwc(op.run(training, to_nchw(inputs)))
            return op.run(training, inputs)

    return call


def _transposes(layer: Any, rank: int) -> Any:
    """Whether the rule of a layer needs its input transposed from NHWC to NCHW.

    `ANY` if either order will do, NotImplemented if the rule does not cover such an input.
    """
    if isinstance(layer, layers.BatchNormalization | layers.Concatenate):
        axis = layer.axis % rank
        if rank == 4 and axis in (1, 3):
            return axis == 3
        return False if rank == 2 and axis == 1 else NotImplemented
    if isinstance(layer, layers.Dense):
        return False if rank == 2 else NotImplemented
    if norm := recognised(layer):
        return norm.axis == 3
    if hasattr(layer, "data_format"):
        return layer.data_format == "channels_last" if rank == 4 else NotImplemented
    return ANY


@dataclass
class Step:
    """One call of a fused operation; inputs and output are keys of values."""

    layer: Any
    op: TorchOp
    run: Run
    inputs: tuple[int, ...]
    output: int
    transposed: bool  # whether it takes NHWC maps as NCHW, and gives its maps so
    dtype: str  # in which it computes
    shown: bool = False  # whether its NHWC output is an output of the model, and used later


@dataclass
class KerasStep:
    """One call through Keras, with its scopes, checks and casts."""

    operation: Any
    arguments: Any
    outputs: tuple[Any, ...]


@dataclass
class Segment:
    """Consecutive steps, compiled or not.

    A compiled segment has the keys of its inputs, of its outputs, and of the inputs that no later
    step uses.
    """

    steps: range
    compiled: CompiledSegment | None = None
    inputs: Sequence[int] = ()
    outputs: Sequence[int] = ()
    last_used: Sequence[int] = ()


class TorchPlan:
    """The graph of a model as steps in order. `__call__` takes and gives flat lists of tensors."""

    def __init__(self, model: Any) -> None:
        self.inputs = [id(x) for x in model.inputs]
        self.outputs = [id(x) for x in model.outputs]
        self.steps: list[Step | KerasStep] = []
        self.transposed: dict[int, bool] = dict.fromkeys(self.inputs, False)
        self.last_use: list[list[int]] = []
        for node in call_nodes(model):
            self._add(node)
        self._fuse()
        self._show_inner_outputs()
        self._find_last_uses()

    def _add(self, node: Any) -> None:
        outputs, inputs = tuple(node.outputs), node.input_tensors
        op = lowered(node.operation) if len(outputs) == 1 and _only_tensors(node) else None
        if op and op.adds and len(inputs) == 1:
            op = None  # its output is its input, which another step owns
        transposed = _transposes(node.operation, len(inputs[0].shape)) if op else NotImplemented
        if op is None or transposed is NotImplemented or len({len(x.shape) for x in inputs}) > 1:
            self.steps.append(KerasStep(node.operation, node.arguments, outputs))
            self.transposed |= {id(x): False for x in outputs}
            return
        keys = tuple(id(x) for x in inputs)
        if transposed is ANY:
            transposed = any(self.transposed[key] for key in keys)
        dtype = node.operation.compute_dtype
        step = Step(node.operation, op, op.run, keys, id(outputs[0]), transposed, dtype)
        self.steps.append(step)
        self.transposed[step.output] = transposed and len(outputs[0].shape) == 4

    # Two steps in one --------------------------------------------------------------------------

    def _fuse(self) -> None:
        uses = Counter(self.outputs)
        for step in self.steps:
            uses.update(_inputs(step))
        producers = {step.output: step for step in self.steps if isinstance(step, Step)}
        fused: set[int] = set()  # outputs of steps that the next step includes
        for step in self.steps:
            before = producers.get(step.inputs[0]) if isinstance(step, Step) else None
            if not isinstance(step, Step) or before is None or uses[before.output] > 1:
                continue
            if step.dtype != before.dtype:
                continue
            op, before_op = step.op, before.op
            same_order = step.transposed == before.transposed
            if op.takes_padding and before_op.padding and same_order:
                step.run = _with(op.run, before_op.padding)
            elif op.subsamples and before_op.takes_stride and same_order:
                step.run = _with(before_op.run, op.subsamples)
            else:
                if op.rectifies and before_op.owns_output:
                    step.run = _relu_in_place
                elif op.adds and before_op.owns_output and len(step.inputs) == 2:
                    step.run = _add_in_place(op.run)
                continue
            step.inputs = before.inputs
            fused.add(before.output)
        self.steps = [s for s in self.steps if not (isinstance(s, Step) and s.output in fused)]

    def _show_inner_outputs(self) -> None:
        """Let later steps use the very tensors that the model gives as outputs.

        A transposed view of an output would do for the values, but gradients with respect to the
        output, as Grad-CAM needs them, would be cut off.
        """
        used = {key for step in self.steps for key in _inputs(step)}
        for step in self.steps:
            if isinstance(step, Step) and step.output in used and step.output in self.outputs:
                step.shown = self.transposed[step.output]
                self.transposed[step.output] = False

    def _find_last_uses(self) -> None:
        """List, for each step, the values that no later step uses: their memory is freed."""
        last_step: dict[int, int] = {}
        for n, step in enumerate(self.steps):
            last_step |= dict.fromkeys(_inputs(step), n)
        self.last_use = [[] for _ in self.steps]
        for value, n in last_step.items():
            if value not in self.outputs:
                self.last_use[n].append(value)

    # Running -----------------------------------------------------------------------------------

    def __call__(
        self, inputs: list[Any], training: bool | None, context: dict[str, Any]
    ) -> list[Any]:
        """Run the steps. With `training` None, Keras's own layers decide, as at its own calls."""
        values = dict(zip(self.inputs, inputs, strict=True))
        if training and compilation_enabled():
            for segment in self._segments:
                if segment.compiled is None:
                    self._run(segment.steps, values, training, context)
                    continue
                outputs = segment.compiled([values[key] for key in segment.inputs])
                values.update(zip(segment.outputs, outputs, strict=True))
                for key in segment.last_used:
                    del values[key]
        else:
            self._run(range(len(self.steps)), values, training, context)
        return [
            _transpose(values[key], False) if self.transposed[key] else values[key]
            for key in self.outputs
        ]

    def _run(self, steps: range, values: dict[int, Any], training: Any, context: Any) -> None:
        transposed = self.transposed
        for n in steps:
            step = self.steps[n]
            if isinstance(step, Step):
                inputs = [
                    values[key]
                    if transposed[key] == step.transposed
                    else _transpose(values[key], step.transposed)
                    for key in step.inputs
                ]
                result = step.run(training, *inputs)
                values[step.output] = to_nhwc(result) if step.shown else result
            else:
                self._call_keras(step, values, training, context)
            for key in self.last_use[n]:
                del values[key]

    def _call_keras(
        self, step: KerasStep, values: dict[int, Any], training: Any, context: Any
    ) -> None:
        inputs = {
            id(x): _transpose(values[id(x)], False) if self.transposed[id(x)] else values[id(x)]
            for x in step.arguments.keras_tensors
        }
        args, kwargs = step.arguments.fill_in(inputs)
        names = getattr(step.operation, internals.CONTEXT_ARGUMENTS, {})
        for name, value in {"training": training, **context}.items():
            if name in names and value is not None:
                kwargs[name] = value
        results = keras.tree.flatten(step.operation(*args, **kwargs))
        for x, value in zip(step.outputs, results, strict=True):
            values[id(x)] = value

    # Compiled segments -------------------------------------------------------------------------

    @cached_property
    def _segments(self) -> list[Segment]:
        segments, start = [], 0
        for compiles, steps in groupby(self.steps, _compiles):
            span = range(start, start := start + len(list(steps)))
            segments.append(self._compile(span) if compiles else Segment(span))
        return segments

    def _compile(self, span: range) -> Segment:
        steps = [step for step in self.steps[span.start : span.stop] if isinstance(step, Step)]
        results = [step.output for step in steps]
        inputs = list(dict.fromkeys(i for step in steps for i in step.inputs if i not in results))
        last_used = {key for n in span for key in self.last_use[n]}
        outputs = [key for key in results if key not in last_used]

        def compute(tensors: list[Tensor]) -> list[Tensor]:
            values = dict(zip(inputs, tensors, strict=True))
            self._run(span, values, True, {})
            return [values[key] for key in outputs]

        compiled = CompiledSegment(compute, [step.layer for step in steps])
        return Segment(span, compiled, inputs, outputs, [i for i in inputs if i in last_used])


def _compiles(step: Step | KerasStep) -> bool:
    return isinstance(step, Step) and step.op.compiles


def _inputs(step: Step | KerasStep) -> list[int]:
    if isinstance(step, Step):
        return list(step.inputs)
    return list({id(x) for x in step.arguments.keras_tensors})


def _channels_last(x: Any) -> Any:
    maps = isinstance(x, Tensor) and x.dim() == 4
    return x.contiguous(memory_format=LAST) if maps else x


def _transpose(x: Tensor, nchw: bool) -> Tensor:
    """Maps in the other order of axes: NCHW, or NHWC."""
    if x.dim() != 4:
        return x
    return to_nchw(x) if nchw else to_nhwc(x)


def _only_tensors(node: Any) -> bool:
    """Whether the call is `layer(x)` or `layer([x, y])`; Keras adds `mask=None`."""
    args, kwargs = node.arguments.args, node.arguments.kwargs
    has_options = any(value is not None for value in kwargs.values())
    flat = keras.tree.flatten(args)
    return (
        not has_options and len(args) == 1 and all(isinstance(x, keras.KerasTensor) for x in flat)
    )


def _with(run: Run, argument: tuple[int, int]) -> Run:
    return lambda training, x: run(training, x, argument)


def _relu_in_place(training: bool, x: Tensor) -> Tensor:
    return torch.relu_(x)


def _add_in_place(run: Run) -> Run:
    def add(training: bool, x: Tensor, y: Tensor) -> Tensor:
        if x.dtype is not y.dtype or x.shape != y.shape:
            return run(training, x, y)
        return x.add_(y)

    return add


def _planned(model: Any) -> Callable[..., Any]:
    get_plan, matched = _cached(TorchPlan, _states, model), None
    structure = internals.output_structure(model)
    convolutions = [x for x in internals.flatten_layers(model) if isinstance(x, layers.Conv2D)]
    nchw = any(x.data_format == "channels_first" for x in convolutions)

    def call(inputs: Any, training: bool | None = None, mask: Any = None, **context: Any) -> Any:
        nonlocal matched
        masked = mask is not None and any(m is not None for m in keras.tree.flatten(mask))
        if masked or any(_GLOBAL_HOOKS):
            return Functional.call(model, inputs, training=training, mask=mask, **context)
        if training and matched is not (optimizer := getattr(model, "optimizer", None)):
            matched = optimizer if match(model) else None
        flat = internals.standardize_inputs(model, inputs)
        if nchw:  # NHWC maps are in the memory format channels_last already
            flat = [_channels_last(x) for x in flat]
        # each operation reads its variables uncast, and casts them itself
        with AutocastScope(None), Statistics():
            outputs = get_plan()(flat, training, context)
        packed = keras.tree.pack_sequence_as(structure, outputs)
        return packed[0] if isinstance(packed, list | tuple) and len(packed) == 1 else packed

    return call
