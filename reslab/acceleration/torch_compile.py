"""Segments of a plan compiled by `torch.compile` for training, if the user asks for it.

In eager mode, batch norm, the ReLU after it and an addition each read and write the maps in the
forward pass and again in the backward pass. One graph of all of them does so fewer times. It needs
time to compile, and a C++ compiler.
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

_ENABLED: ContextVar[bool] = ContextVar("reslab_compiled", default=False)


def compilation_enabled() -> bool:
    """Whether plans compile their segments in training."""
    return _ENABLED.get()


@contextmanager
def compilation(enabled: bool) -> Iterator[None]:
    """Compile the segments of plans that run in training inside, or do not."""
    token = _ENABLED.set(enabled)
    try:
        yield
    finally:
        _ENABLED.reset(token)


class CompiledSegment:
    """A function of tensors in training, compiled for each combination of shapes.

    The first shapes are compiled at once, others when they come twice in a row: the smaller batch
    at the end of an epoch is not worth it. `compute` reads the variables of `layers` through Keras
    and may update their running statistics.
    """

    def __init__(self, compute: Compute, layers: Sequence[Any]) -> None:
        self.compute, self.layers = compute, layers
        self.variables = list({id(v): v for layer in layers for v in layer.variables}.values())
        self.functions: dict[Any, Compute] = {}
        self.last_key: Any = None

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        # a graph has these two as constants, and a user may change either between two steps
        layers = tuple((layer.trainable, getattr(layer, "momentum", None)) for layer in self.layers)
        key = layers, tuple((x.shape, x.dtype, x.device) for x in inputs)
        repeated, self.last_key = key == self.last_key or not self.functions, key
        if key not in self.functions and repeated:
            return self._compile_and_call(key, inputs)
        return self.functions.get(key, self.compute)(inputs)

    def _compile_and_call(self, key: Any, inputs: list[Tensor]) -> list[Tensor]:
        self.functions[key] = function = self._compiled(inputs)
        try:
            return function(inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"torch.compile failed, and training continues without it: {reason}", stacklevel=2
            )
            self.functions[key] = self.compute
            return self.compute(inputs)

    def _compiled(self, inputs: list[Tensor]) -> Compute:
        from functorch import make_fx  # loading it takes a second

        variables, updated = self.variables, list[Any]()

        def pure(tensors: list[Tensor]) -> list[Tensor]:
            """Map values of variables and inputs to outputs and updated running statistics."""
            before = list(zip(variables, tensors, strict=False))
            with StatelessScope(before) as scope:
                outputs = self.compute(tensors[len(variables) :])
                after = [scope.get_current_value(v) for v in variables]
            changes = [
                (v, new) for (v, old), new in zip(before, after, strict=True) if new is not old
            ]
            updated[:] = [v for v, _ in changes]
            return [*outputs, *(new for _, new in changes)]

        def tensors(inputs: list[Tensor]) -> list[Tensor]:
            return [*(v.value for v in variables), *inputs]

        # Traced here: torch.compile would make a guard of everything that Keras looks up
        with torch.no_grad():
            graph = make_fx(pure, tracing_mode="fake")([x.detach() for x in tensors(inputs)])
        kernels = torch.compile(graph, dynamic=False)

        def run(inputs: list[Tensor]) -> list[Tensor]:
            results = kernels(tensors(inputs))
            n = len(results) - len(updated)
            _assign(updated, results[n:])
            return results[:n]

        return run


@torch.no_grad()
def _assign(variables: list[Any], values: list[Tensor]) -> None:
    if in_stateless_scope():
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    elif variables:
        torch._foreach_copy_([v.value for v in variables], values)
