"""A functional model as a list of PyTorch calls, and single layers as one of them each.

Keras sends each layer through scopes, checks and casts that cost more than a small layer's sums.
A plan resolves all of that once, from the model's graph; layers without a rule are called as ever.
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
from reslab.acceleration.stock_layers import state
from reslab.acceleration.torch_compile import Stretch, asked
from reslab.acceleration.torch_memory import LAST, match
from reslab.acceleration.torch_rules import Made, Run, Statistics, back, made_of, turn

T = TypeVar("T")
ANY = None  # maps in either order of axes
_SLOW = layers.Conv2D, layers.BatchNormalization


def call_of(layer: Any) -> Callable[..., Any] | None:
    """What to replace `layer.call` by; None where Keras's own stays."""
    if isinstance(layer, Functional):
        if type(layer).call is not Functional.call or _masks(layer):
            return None
        return _planned(layer)
    # the other kinds are as fast as they are
    return _single(layer) if isinstance(layer, _SLOW) and made_of(layer) else None


def _masks(model: Any) -> bool:
    """Whether masks may flow beside the tensors: only Keras's own calls carry them on."""
    return any(
        isinstance(x, layers.Masking | layers.Embedding) for x in internals.flatten_layers(model)
    )


def _current(make: Callable[[Any], T], look: Callable[[Any], Any], of: Any) -> Callable[[], T]:
    """What is made of a layer or model, made again where what `look` sees of it has changed."""
    made, seen = make(of), look(of)

    def now() -> T:
        nonlocal made, seen
        if seen != (sees := look(of)):
            made, seen = make(of), sees
        return made

    return now


def _states(model: Any) -> list[tuple[Any, ...]]:
    return [state(layer) for layer in internals.layers_of(model)]


def _single(layer: Any) -> Callable[..., Any]:
    own, now = type(layer).call, _current(made_of, state, layer)

    if isinstance(layer, layers.Conv2D):
        last = layer.data_format == "channels_last"

        def convolve(inputs: Any) -> Any:
            if (made := now()) is None:
                return own(layer, inputs)
            return back(made.run(False, turn(inputs))) if last else made.run(False, inputs)

        return convolve

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        turned = _wants(layer, inputs.dim())
        if mask is not None or turned is NotImplemented or (made := now()) is None:
            return own(layer, inputs, training=training, mask=mask)
        with Statistics():
            return back(made.run(training, turn(inputs))) if turned else made.run(training, inputs)

    return call


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
    """One call of what was made of a layer; inputs and output are keys of values."""

    layer: Any
    made: Made
    run: Run
    inputs: tuple[int, ...]
    output: int
    turned: bool  # what it takes, and what it makes where that is maps
    dtype: str  # in which it computes


@dataclass
class Stock:
    """A call of Keras's own, with everything around it."""

    operation: Any
    arguments: Any
    outputs: tuple[Any, ...]


@dataclass
class Part:
    """Steps that follow each other: as they are, or a stretch that can be compiled, with the keys
    of the values that it takes, gives, and is the last to take."""

    steps: range
    stretch: Stretch | None = None
    taken: Sequence[int] = ()
    given: Sequence[int] = ()
    done: Sequence[int] = ()


class Plan:
    """A model's graph, resolved. `__call__` takes and gives flat lists of tensors."""

    def __init__(self, model: Any) -> None:
        self.inputs = [id(x) for x in model.inputs]
        self.outputs = [id(x) for x in model.outputs]
        self.steps: list[Step | Stock] = []
        self.turned: dict[int, bool] = dict.fromkeys(self.inputs, False)
        self.last_use: list[list[int]] = []
        for node in call_nodes(model):
            self._add(node)
        self._fuse()
        self._forget()

    def _add(self, node: Any) -> None:
        outputs = tuple(node.outputs)
        taken = node.input_tensors
        made = made_of(node.operation) if len(outputs) == 1 and _only_tensors(node) else None
        if made and made.adds and len(taken) == 1:
            made = None  # what it makes is what it takes, and that is another's
        wanted = _wants(node.operation, len(taken[0].shape)) if made else NotImplemented
        if made is None or wanted is NotImplemented or len({len(x.shape) for x in taken}) > 1:
            self.steps.append(Stock(node.operation, node.arguments, outputs))
            self.turned |= {id(x): False for x in outputs}
            return
        inputs = tuple(id(x) for x in taken)
        if wanted is ANY:
            wanted = any(self.turned[i] for i in inputs)
        dtype = node.operation.compute_dtype
        step = Step(node.operation, made, made.run, inputs, id(outputs[0]), wanted, dtype)
        self.steps.append(step)
        self.turned[step.output] = wanted and len(outputs[0].shape) == 4

    # Two steps in one --------------------------------------------------------------------------

    def _fuse(self) -> None:
        uses = Counter(self.outputs)
        for step in self.steps:
            uses.update(_inputs(step))
        maker = {s.output: s for s in self.steps if isinstance(s, Step)}
        gone: set[int] = set()
        for step in self.steps:
            before = maker.get(step.inputs[0]) if isinstance(step, Step) else None
            if not isinstance(step, Step) or before is None or uses[before.output] > 1:
                continue
            if step.dtype != before.dtype:
                continue
            this, last, alike = step.made, before.made, step.turned == before.turned
            if this.takes_frame and last.frame and alike:
                step.run = _with(this.run, last.frame)
            elif this.picks and last.takes_stride and alike:
                step.run = _with(last.run, this.picks)
            else:
                if this.rectifies and last.fresh:
                    step.run = _rectified_in_place
                elif this.adds and last.fresh and len(step.inputs) == 2:
                    step.run = _added_in_place(this.run)
                continue
            step.inputs = before.inputs
            gone.add(before.output)
        self.steps = [s for s in self.steps if not (isinstance(s, Step) and s.output in gone)]

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

    def __call__(
        self, inputs: list[Any], training: bool | None, context: dict[str, Any]
    ) -> list[Any]:
        """`training` None is for Keras's own layers, which may have been told at the call."""
        values = dict(zip(self.inputs, inputs, strict=True))
        if training and asked():
            for part in self._parts:
                if part.stretch is None:
                    self._run(part.steps, values, training, context)
                    continue
                outputs = part.stretch([values[i] for i in part.taken])
                values.update(zip(part.given, outputs, strict=True))
                for place in part.done:
                    del values[place]
        else:
            self._run(range(len(self.steps)), values, training, context)
        return [_other(values[i], False) if self.turned[i] else values[i] for i in self.outputs]

    def _run(self, steps: range, values: dict[int, Any], training: Any, context: Any) -> None:
        turned = self.turned
        for n in steps:
            step = self.steps[n]
            if isinstance(step, Step):
                taken = [
                    values[i] if turned[i] == step.turned else _other(values[i], step.turned)
                    for i in step.inputs
                ]
                values[step.output] = step.run(training, *taken)
            else:
                self._stock(step, values, training, context)
            for place in self.last_use[n]:
                del values[place]

    def _stock(self, step: Stock, values: dict[int, Any], training: Any, context: Any) -> None:
        straight = {
            id(x): _other(values[id(x)], False) if self.turned[id(x)] else values[id(x)]
            for x in step.arguments.keras_tensors
        }
        args, kwargs = step.arguments.fill_in(straight)
        known = getattr(step.operation, internals.CONTEXT_ARGUMENTS, {})
        for name, value in {"training": training, **context}.items():
            if name in known and value is not None:
                kwargs[name] = value
        made = step.operation(*args, **kwargs)
        for x, value in zip(step.outputs, keras.tree.flatten(made), strict=True):
            values[id(x)] = value

    # Stretches --------------------------------------------------------------------------------

    @cached_property
    def _parts(self) -> list[Part]:
        parts, start = [], 0
        for ours, steps in groupby(self.steps, _compiles):
            part = range(start, start := start + len(list(steps)))
            parts.append(self._stretch(part) if ours else Part(part))
        return parts

    def _stretch(self, part: range) -> Part:
        steps = [step for step in self.steps[part.start : part.stop] if isinstance(step, Step)]
        made = [step.output for step in steps]
        taken = list(dict.fromkeys(i for step in steps for i in step.inputs if i not in made))
        done = {i for n in part for i in self.last_use[n]}
        given = [i for i in made if i not in done]

        def compute(tensors: list[Tensor]) -> list[Tensor]:
            values = dict(zip(taken, tensors, strict=True))
            self._run(part, values, True, {})
            return [values[i] for i in given]

        stretch = Stretch(compute, [step.layer for step in steps])
        return Part(part, stretch, taken, given, [i for i in taken if i in done])


def _compiles(step: Step | Stock) -> bool:
    return isinstance(step, Step) and step.made.compiles


def _inputs(step: Step | Stock) -> list[int]:
    if isinstance(step, Step):
        return list(step.inputs)
    return list({id(x) for x in step.arguments.keras_tensors})


def _last(x: Any) -> Any:
    maps = isinstance(x, Tensor) and x.dim() == 4
    return x.contiguous(memory_format=LAST) if maps else x


def _other(x: Tensor, turned: bool) -> Tensor:
    if x.dim() != 4:
        return x
    return turn(x) if turned else back(x)


def _only_tensors(node: Any) -> bool:
    """Called as `layer(x)` or `layer([x, y])`, with nothing else said; Keras adds `mask=None`."""
    args, kwargs = node.arguments.args, node.arguments.kwargs
    said = any(value is not None for value in kwargs.values())
    flat = keras.tree.flatten(args)
    return not said and len(args) == 1 and all(isinstance(x, keras.KerasTensor) for x in flat)


def _with(run: Run, more: tuple[int, int]) -> Run:
    return lambda training, x: run(training, x, more)


def _rectified_in_place(training: bool, x: Tensor) -> Tensor:
    return torch.relu_(x)


def _added_in_place(run: Run) -> Run:
    def add(training: bool, x: Tensor, y: Tensor) -> Tensor:
        if x.dtype is not y.dtype or x.shape != y.shape:
            return run(training, x, y)
        return x.add_(y)

    return add


def _planned(model: Any) -> Callable[..., Any]:
    now, matched = _current(Plan, _states, model), None
    structure = internals.output_structure(model)
    convolutions = [x for x in internals.flatten_layers(model) if isinstance(x, layers.Conv2D)]
    first = any(x.data_format == "channels_first" for x in convolutions)

    def call(inputs: Any, training: bool | None = None, mask: Any = None, **context: Any) -> Any:
        nonlocal matched
        if mask is not None and any(m is not None for m in keras.tree.flatten(mask)):
            return Functional.call(model, inputs, training=training, mask=mask, **context)
        if training and matched is not (optimizer := getattr(model, "optimizer", None)):
            matched = optimizer if match(model) else None
        flat = internals.standardize_inputs(model, inputs)
        if first:  # maps of Keras's order lie as channels_last already
            flat = [_last(x) for x in flat]
        # each reads its variables as they are, and casts them itself
        with AutocastScope(None), Statistics():
            outputs = now()(flat, training, context)
        made = keras.tree.pack_sequence_as(structure, outputs)
        return made[0] if isinstance(made, list | tuple) and len(made) == 1 else made

    return call
