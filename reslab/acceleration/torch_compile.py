"""Stretches of a plan in training as kernels that `torch.compile` makes, where a user asks for it.

Eager, batch norm, the ReLU behind it and an addition each go through the maps by themselves, and
once more each on the way back. One graph of all of them reads the maps fewer times; what it costs
is the compiling, and a C++ compiler.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from keras import StatelessScope
from torch import Tensor

from reslab.acceleration.keras_internals import in_stateless_scope

Compute = Callable[[list[Tensor]], list[Tensor]]

_ASKED: ContextVar[bool] = ContextVar("reslab_compiled", default=False)


def asked() -> bool:
    """Whether plans are compiled where they run in training."""
    return _ASKED.get()


@contextmanager
def compiled(wanted: bool) -> Iterator[None]:
    """To run plans in, compiled or not."""
    before = _ASKED.set(wanted)
    try:
        yield
    finally:
        _ASKED.reset(before)


class Stretch:
    """What layers make of tensors in training, compiled for each shape that it meets.

    The first shape is compiled at once, and another when it comes twice running: the smaller batch
    at the end of an epoch is not worth it. `compute` reads the variables of `layers` through Keras
    and may move their statistics.
    """

    def __init__(self, compute: Compute, layers: Sequence[Any]) -> None:
        self.compute, self.layers = compute, layers
        self.variables = list({id(v): v for layer in layers for v in layer.variables}.values())
        self.made: dict[Any, Compute] = {}
        self.last: Any = None

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        # a user may change either between two steps, and a graph has them in it
        layers = tuple((each.trainable, getattr(each, "momentum", None)) for each in self.layers)
        now = layers, tuple((x.shape, x.dtype, x.device) for x in inputs)
        again, self.last = now == self.last or not self.made, now
        if now not in self.made and again:
            return self._first(now, inputs)
        return self.made.get(now, self.compute)(inputs)

    def _first(self, now: Any, inputs: list[Tensor]) -> list[Tensor]:
        self.made[now] = made = self._compiled(inputs)
        try:
            return made(inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            why = str(error).partition("\n")[0]
            warnings.warn(
                f"torch.compile failed, and training goes on without: {why}", stacklevel=2
            )
            self.made[now] = self.compute
            return self.compute(inputs)

    def _compiled(self, inputs: list[Tensor]) -> Compute:
        from functorch import make_fx  # torch.compile's tools take a second to load

        variables, moved = self.variables, list[Any]()

        def pure(tensors: list[Tensor]) -> list[Tensor]:
            """Of the variables' values and the inputs: the outputs, and the moved statistics."""
            given = list(zip(variables, tensors, strict=False))
            with StatelessScope(given) as scope:
                outputs = self.compute(tensors[len(variables) :])
                after = [scope.get_current_value(v) for v in variables]
            changes = [
                (v, new) for (v, old), new in zip(given, after, strict=True) if new is not old
            ]
            moved[:] = [v for v, _ in changes]
            return [*outputs, *(new for _, new in changes)]

        def tensors(inputs: list[Tensor]) -> list[Tensor]:
            return [*(v.value for v in variables), *inputs]

        # Traced here, not by torch.compile: for it all that Keras looks up would be a guard
        with torch.no_grad():
            graph = make_fx(pure, tracing_mode="fake")([x.detach() for x in tensors(inputs)])
        kernels = torch.compile(graph, dynamic=False)

        def run(inputs: list[Tensor]) -> list[Tensor]:
            results = kernels(tensors(inputs))
            n = len(results) - len(moved)
            _assign(moved, results[n:])
            return results[:n]

        return run


@torch.no_grad()
def _assign(variables: list[Any], values: list[Tensor]) -> None:
    if in_stateless_scope():
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    elif variables:
        torch._foreach_copy_([v.value for v in variables], values)
