"""SGD with momentum on PyTorch in one pass over weights, gradients and velocities.

An operation over a whole list reads and writes memory each time. With one operation per term, a
rule of `runs.recipe` with decay reads or writes each number of a network thirteen times; here it
is five times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from reslab.acceleration.keras_internals import PARALLEL_UPDATE, torch_sgd, variable_index

KerasSGD = torch_sgd()
_keras_update = getattr(KerasSGD, PARALLEL_UPDATE)


@torch.no_grad()
def update(
    tensors: Sequence[tuple[Tensor, ...]],
    rate: Tensor | float,
    momentum: float,
    *,
    rule: str,
    decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Update all weights in place by one of the rules of `reslab.runs.recipe`.

    `tensors` has each weight, its gradient and, with momentum, its velocity, as `contiguous_views`.
    Decay is part of the gradient. A rate on a device stays there with the rule "torch".
    """
    columns: list[list[Tensor]] = [list(column) for column in zip(*tensors, strict=True)]
    weights, gradients, *velocities = columns
    # v = m v + inside (g + decay w);  w -= outside v, or by Nesterov outside (m v + inside (...))
    inside, outside = {"torch": (1.0, rate), "caffe": (rate, 1.0), "keras": (-rate, -1.0)}[rule]
    if not momentum:
        inside, outside = 1.0, inside * outside
    elif nesterov and rule != "torch":  # PyTorch dampens only the term that enters v
        gradients = list(torch._foreach_mul(gradients, inside))
        inside, decay = 1.0, decay * float(inside)
    torch._fused_sgd_(
        weights,
        gradients,
        velocities[0] if momentum else [],
        weight_decay=decay,
        momentum=momentum,
        lr=outside,
        dampening=1 - float(inside),
        nesterov=nesterov and momentum > 0,
        maximize=False,
        is_first_step=False,
    )


def contiguous_views(*tensors: Tensor) -> tuple[Tensor, ...] | None:
    """Contiguous views of a weight, its gradient and its velocity; None if their formats differ.

    PyTorch's fused kernel walks through memory without checking strides, and is slow on tensors
    that are not contiguous: kernels stored as (out, h, w, in) are not, by their shape.
    """
    if len({x.dtype for x in tensors}) > 1:
        return None
    # strides alone do not tell: along an axis of size one they are arbitrary
    if all(x.is_contiguous() for x in tensors):
        return tensors
    views = tuple(x.permute(3, 0, 1, 2) for x in tensors if x.dim() == 4)
    return views if views and all(x.is_contiguous() for x in views) else None


@contextmanager
def in_one_pass(optimizer: Any) -> Iterator[None]:
    """Let Keras's own SGD with momentum apply its gradients by `update` inside."""
    if type(optimizer) is not KerasSGD or not optimizer.momentum:
        yield
        return

    def step(gradients: list[Tensor], variables: list[Any], rate: Any) -> None:
        velocities = (optimizer.momentums[variable_index(optimizer, v)] for v in variables)
        tensors = []
        for weight, gradient, velocity in zip(variables, gradients, velocities, strict=True):
            views = contiguous_views(weight.value, gradient, velocity.value)
            if views is None:
                _keras_update(optimizer, gradients, variables, rate)
                return
            tensors.append(views)
        m, nesterov = optimizer.momentum, optimizer.nesterov
        rate = getattr(rate, "value", rate)
        update(tensors, rate, m, rule="keras", nesterov=nesterov)

    vars(optimizer)[PARALLEL_UPDATE] = step
    try:
        yield
    finally:
        del vars(optimizer)[PARALLEL_UPDATE]
