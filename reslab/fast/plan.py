"""A functional model as a list of PyTorch calls, and single layers as one of them each.

Keras sends each layer through scopes, checks and casts that cost more than a small layer's sums.
A plan resolves all of that once, from the model's graph; layers without a rule are called as ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import torch
from keras import layers
from keras.src.models.functional import Functional
from torch import Tensor

from reslab.fast.storage import LAST, match
from reslab.fast.torch_rules import Run, run_of

ANY = None  # maps in either order of axes


def call_of(layer: Any) -> Callable[..., Any] | None:
    """What to replace `layer.call` by; None where Keras's own stays."""
    if isinstance(layer, Functional):
        if type(layer).call is not Functional.call or _masks(layer):
            return None
        return _planned(layer)
    run = run_of(layer)
    return None if run is None else _single(layer, run)


def _masks(model: Any) -> bool:
    """Whether masks may flow beside the tensors: only Keras's own calls carry them on."""
    return any(isinstance(x, layers.Masking | layers.Embedding) for x in model._flatten_layers())


def _single(layer: Any, run: Run) -> Callable[..., Any] | None:
    if not isinstance(layer, layers.Conv2D | layers.BatchNormalization):
        return None  # the others are as fast as they are
    if isinstance(layer, layers.Conv2D):
        turned = layer.data_format == "channels_last"
        return lambda inputs: _back(run(False, _turn(inputs))) if turned else run(False, inputs)
    own = type(layer).call

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        turned = _wants(layer, inputs.dim())
        if mask is not None or turned is NotImplemented:
            return own(layer, inputs, training=training, mask=mask)
        return _back(run(training, _turn(inputs))) if turned else run(training, inputs)

    return call


def _turn(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _back(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _wants(layer: Any, rank: int) -> Any:
    """Whether the rule of a layer wants maps of Keras's order turned to PyTorch's.

    `ANY` where it is all one to it, NotImplemented where it is no input for the rule.
    """
    if isinstance(layer, layers.BatchNormalization | layers.Concatenate):
        axis = layer.axis % rank
        if rank == 4 and axis in (1, 3):
            return axis == 3
        return False if rank == 2 and axis == 1 else NotImplemented
    if isinstance(layer, layers.Dense):
        return False if rank == 2 else NotImplemented
    if hasattr(layer, "data_format"):
        return layer.data_format == "channels_last" if rank == 4 else NotImplemented
    return ANY


@dataclass
class Step:
    """One call: `run(training, *values)`; its inputs and its output by their places in the list."""

    run: Run
    inputs: tuple[int, ...]
    output: int
    turned: bool  # what it takes, and what it makes where that is maps
    fresh: bool = False  # its output is new memory, which autograd does not ask for again
    uses: dict[str, Any] = field(default_factory=dict)


@dataclass
class Stock:
    """A call of Keras's own, with everything around it."""

    operation: Any
    arguments: Any
    outputs: tuple[Any, ...]


class Plan:
    """A model's graph, resolved. `__call__` takes and gives flat lists of tensors."""

    def __init__(self, model: Any) -> None:
        self.inputs = [id(x) for x in model.inputs]
        self.outputs = [id(x) for x in model.outputs]
        self.steps: list[Step | Stock] = []
        self.turned: dict[int, bool] = dict.fromkeys(self.inputs, False)
        self.rank: dict[int, int] = {id(x): len(x.shape) for x in model.inputs}
        self.last_use: list[list[int]] = []
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.operation and not node.is_input:
                    self._add(node)
        self._fuse()
        self._forget()

    def _add(self, node: Any) -> None:
        outputs = tuple(node.outputs)
        self.rank |= {id(x): len(x.shape) for x in outputs}
        taken = node.input_tensors
        run = run_of(node.operation) if len(outputs) == 1 and _only_tensors(node) else None
        wanted = _wants(node.operation, len(taken[0].shape)) if run else NotImplemented
        if run is None or wanted is NotImplemented or len({len(x.shape) for x in taken}) > 1:
            self.steps.append(Stock(node.operation, node.arguments, outputs))
            self.turned |= {id(x): False for x in outputs}
            return
        inputs = tuple(id(x) for x in taken)
        if wanted is ANY:
            wanted = any(self.turned[i] for i in inputs)
        same = len({tuple(x.shape) for x in taken}) == 1
        kinds = layers.Conv2D | layers.BatchNormalization | layers.Add
        step = Step(run, inputs, id(outputs[0]), wanted, isinstance(node.operation, kinds))
        step.uses = {k: v for k, v in vars(run).items() if k != "adds" or same}
        self.steps.append(step)
        self.turned[step.output] = wanted and len(outputs[0].shape) == 4

    # Two steps in one --------------------------------------------------------------------------

    def _fuse(self) -> None:
        uses = Counter(self.outputs)
        for step in self.steps:
            uses.update(_inputs(step))
        maker = {s.output: s for s in self.steps if isinstance(s, Step)}
        gone: list[Step] = []
        for step in self.steps:
            if not isinstance(step, Step):
                continue
            before = maker.get(step.inputs[0])
            if before is None or before is step or uses[before.output] > 1:
                continue
            if step.uses.get("pads") and "frame" in before.uses and before.turned == step.turned:
                step.run = _padded(step.run, before.uses["frame"])
            elif "picks" in step.uses and before.uses.get("dense") and before.turned == step.turned:
                step.run = _strided(before.run, step.uses["picks"])
            elif step.uses.get("rectifies") and before.fresh:
                step.run = _rectified_in_place
                continue
            elif step.uses.get("adds") and before.fresh and len(step.inputs) == 2:
                step.run, step.fresh = _added_in_place(step.run), True
                continue
            else:
                continue
            step.inputs = before.inputs
            gone.append(before)
        self.steps = [s for s in self.steps if not any(s is g for g in gone)]

    def _forget(self) -> None:
        """For each step the values that nothing after it asks for: memory is free for the next."""
        last: dict[int, int] = {}
        for n, step in enumerate(self.steps):
            last |= dict.fromkeys(_inputs(step), n)
        self.last_use = [[] for _ in self.steps]
        for value, n in last.items():
            if value not in self.outputs:
                self.last_use[n].append(value)

    # Running -----------------------------------------------------------------------------------

    def __call__(self, inputs: list[Any], training: bool, context: dict[str, Any]) -> list[Any]:
        values: dict[int, Any] = {}
        for place, x in zip(self.inputs, inputs, strict=True):
            values[place] = x
        turned = self.turned
        for step, done in zip(self.steps, self.last_use, strict=True):
            if isinstance(step, Step):
                taken = [
                    values[i] if turned[i] == step.turned else _other(values[i], step.turned)
                    for i in step.inputs
                ]
                values[step.output] = step.run(training, *taken)
            else:
                self._stock(step, values, training, context)
            for place in done:
                del values[place]
        return [_other(values[i], False) if turned[i] else values[i] for i in self.outputs]

    def _stock(self, step: Stock, values: dict[int, Any], training: Any, context: Any) -> None:
        straight = {
            id(x): _other(values[id(x)], False) if self.turned[id(x)] else values[id(x)]
            for x in step.arguments.keras_tensors
        }
        args, kwargs = step.arguments.fill_in(straight)
        known = getattr(step.operation, "_call_context_args", {})
        for name, value in {"training": training, **context}.items():
            if name in known and value is not None:
                kwargs[name] = value
        made = step.operation(*args, **kwargs)
        for x, value in zip(step.outputs, keras.tree.flatten(made), strict=True):
            values[id(x)] = value


def _inputs(step: Step | Stock) -> list[int]:
    if isinstance(step, Step):
        return list(step.inputs)
    return list({id(x) for x in step.arguments.keras_tensors})


def _other(x: Tensor, turned: bool) -> Tensor:
    if x.dim() != 4:
        return x
    return _turn(x) if turned else _back(x)


def _only_tensors(node: Any) -> bool:
    """Called as `layer(x)` or `layer([x, y])`, with nothing else said."""
    args, kwargs = node.arguments.args, node.arguments.kwargs
    flat = keras.tree.flatten(args)
    return not kwargs and len(args) == 1 and all(isinstance(x, keras.KerasTensor) for x in flat)


def _padded(run: Run, rows: tuple[int, int]) -> Run:
    return lambda training, x: run(training, x, rows)


def _strided(run: Run, stride: tuple[int, int]) -> Run:
    return lambda training, x: run(training, x, stride)


def _rectified_in_place(training: bool, x: Tensor) -> Tensor:
    return torch.relu_(x)


def _added_in_place(run: Run) -> Run:
    def add(training: bool, x: Tensor, y: Tensor) -> Tensor:
        if x.dtype is not y.dtype or x.shape != y.shape:
            return run(training, x, y)
        return x.add_(y)

    return add


def _planned(model: Any) -> Callable[..., Any]:
    plan = Plan(model)
    matched = False

    def call(inputs: Any, training: bool | None = None, mask: Any = None, **context: Any) -> Any:
        nonlocal matched
        if mask is not None and any(m is not None for m in keras.tree.flatten(mask)):
            return Functional.call(model, inputs, training=training, mask=mask, **context)
        if training and not matched:
            matched = match(model)
        flat = [_in_channels_last(x) for x in model._standardize_inputs(inputs)]
        outputs = plan(flat, bool(training), context)
        made = keras.tree.pack_sequence_as(model._outputs_struct, outputs)
        return made[0] if isinstance(made, list | tuple) and len(made) == 1 else made

    return call


def _in_channels_last(x: Any) -> Any:
    """Maps of PyTorch's order lie as channels_last as well; those of Keras's do already."""
    if isinstance(x, Tensor) and x.dim() == 4 and x.shape[1] < x.shape[3]:
        return x.contiguous(memory_format=LAST)
    return x
