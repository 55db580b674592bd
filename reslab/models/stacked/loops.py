"""One unit repeated: a scan on JAX, a while loop on TensorFlow, a Python loop on PyTorch.

Each loop takes a pure function

    unit(x, weights, states, rates) -> (y, new states)

whose weights, states and rates are the slices of one unit, and where a new state is None if the
unit did not change it. It also takes the weights, states and rates of all units, as `Slices`. It
returns the last y and the new states, stacked; None for a state that no unit changed.

With `remat`, only the tensors between units are kept for the backward pass, which recomputes the
activations of each unit (Chen 2016, arXiv 1604.06174). The states that this second run gives are
dropped: running statistics are updated once a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

Tensor = Any
States = list[Tensor | None]
Unit = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor], Sequence[Any]], tuple[Tensor, States]]


@dataclass(frozen=True)
class Slices:
    """The weights, states and rates of `times` units.

    Weights and states have a leading axis of `times`; `rates` has a list per dropout layer, with
    one rate per unit.
    """

    weights: Sequence[Tensor]
    states: Sequence[Tensor]
    rates: Sequence[Sequence[float]]
    times: int


def loop(unit: Unit, x: Tensor, units: Slices, remat: bool) -> tuple[Tensor, States]:
    """Run all units on x, on the backend that Keras runs on."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from reslab.models.stacked import tensorflow_loop

        return tensorflow_loop.loop(unit, x, units, remat)
    return (_jax if backend == "jax" else _torch)(unit, x, units, remat)


def _jax(unit: Unit, x: Tensor, units: Slices, remat: bool) -> tuple[Tensor, States]:
    import jax
    import jax.numpy as jnp

    changed: list[int] = []

    def body(x: Tensor, slices: Any) -> tuple[Tensor, list[Tensor]]:
        y, new_states = unit(x, *slices)
        changed[:] = [i for i, state in enumerate(new_states) if state is not None]
        return y.astype(x.dtype), [new_states[i] for i in changed]

    if remat:
        # the iterations of a scan share no subexpressions, so none need be kept apart
        body = jax.checkpoint(body, prevent_cse=False)
    rates = [jnp.asarray(rates, "float32") for rates in units.rates]
    scanned = (list(units.weights), list(units.states), rates)
    x, stacked = jax.lax.scan(body, x, scanned, length=units.times)
    states: States = [None] * len(units.states)
    for i, state in zip(changed, stacked, strict=True):
        states[i] = state
    return x, states


def _torch(unit: Unit, x: Tensor, units: Slices, remat: bool) -> tuple[Tensor, States]:
    from contextvars import copy_context

    import torch
    from torch.utils.checkpoint import checkpoint

    # One `unbind` each: its backward pass stacks the gradients of the slices once, where indexing
    # would add up as many arrays of the whole size as there are units
    weights = [weight.unbind(0) for weight in units.weights]
    # Copies with remat: the backward pass recomputes a unit from the states before the forward pass
    states = [
        (state.detach().clone() if remat else state.detach()).unbind(0) for state in units.states
    ]
    remat = remat and torch.is_grad_enabled()

    def compute(x: Tensor, i: int) -> tuple[Tensor, States]:
        y, new_states = unit(
            x, [w[i] for w in weights], [s[i] for s in states], [r[i] for r in units.rates]
        )
        return y.to(x.dtype), [None if state is None else state.detach() for state in new_states]

    results: list[States] = []
    for i in range(units.times):
        if remat:
            # On a GPU the backward pass has its own thread: the context, which says whether units
            # are compiled, goes there too. Units do not draw from torch's generators, so that
            # their state is not kept.
            run = copy_context().run
            x, new_states = checkpoint(
                run, compute, x, i, use_reentrant=False, preserve_rng_state=False
            )
        else:
            x, new_states = compute(x, i)
        results.append(new_states)
    with torch.no_grad():
        by_state = zip(*results, strict=True)
        return x, [None if state[0] is None else torch.stack(state) for state in by_state]
