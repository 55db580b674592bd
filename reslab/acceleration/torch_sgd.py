"""SGD with momentum on PyTorch in one pass over weights, gradients and velocities.

As sums over whole lists, a step goes through memory for each sum: for a rule of `runs.recipe`
with decay it reads or writes every number of a net thirteen times, and five times here.
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
def move(
    tensors: Sequence[tuple[Tensor, ...]],
    rate: Tensor | float,
    momentum: float,
    *,
    rule: str,
    decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """A step of all weights, in place, by one of the rules of `reslab.runs.recipe`.

    `tensors` has each weight, its gradient and, with momentum, its velocity, `as_it_lies`. Decay is
    part of the gradient. A rate on a device stays there, by the rule "torch".
    """
    columns: list[list[Tensor]] = [list(each) for each in zip(*tensors, strict=True)]
    weights, gradients, *velocities = columns
    # v = m v + inside (g + decay w);  w -= outside v, or by Nesterov outside (m v + inside (...))
    inside, outside = {"torch": (1.0, rate), "caffe": (rate, 1.0), "keras": (-rate, -1.0)}[rule]
    if not momentum:
        inside, outside = 1.0, inside * outside
    elif nesterov and rule != "torch":  # PyTorch's dampens what goes into v alone
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


def as_it_lies(*tensors: Tensor) -> tuple[Tensor, ...] | None:
    """Views of a weight and of what belongs to it, for `move`; None where they lie differently.

    PyTorch's kernel runs through memory and checks nothing. It is slow on tensors that it does not
    see to be contiguous, as our kernels' (out, h, w, in) is not by their shape.
    """
    if len({x.dtype for x in tensors}) > 1:
        return None
    # strides say less: along one single number they may be any
    if all(x.is_contiguous() for x in tensors):
        return tensors
    turned = tuple(x.permute(3, 0, 1, 2) for x in tensors if x.dim() == 4)
    return turned if turned and all(x.is_contiguous() for x in turned) else None


@contextmanager
def in_one_pass(optimizer: Any) -> Iterator[None]:
    """To apply an optimiser's gradients in: Keras's own SGD with momentum goes by `move`."""
    if type(optimizer) is not KerasSGD or not optimizer.momentum:
        yield
        return

    def step(gradients: list[Tensor], variables: list[Any], rate: Any) -> None:
        velocities = (optimizer.momentums[variable_index(optimizer, v)] for v in variables)
        tensors = []
        for weight, gradient, velocity in zip(variables, gradients, velocities, strict=True):
            lying = as_it_lies(weight.value, gradient, velocity.value)
            if lying is None:
                _keras_update(optimizer, gradients, variables, rate)
                return
            tensors.append(lying)
        m, nesterov = optimizer.momentum, optimizer.nesterov
        rate = getattr(rate, "value", rate)
        move(tensors, rate, m, rule="keras", nesterov=nesterov)

    vars(optimizer)[PARALLEL_UPDATE] = step
    try:
        yield
    finally:
        del vars(optimizer)[PARALLEL_UPDATE]
