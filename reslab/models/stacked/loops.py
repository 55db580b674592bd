"""The same unit, many times: a scan on JAX, a while loop on TensorFlow, a plain loop on PyTorch.

Each takes a pure function

    unit(x, weights, states, rates) -> (y, new states)

where the weights, states and rates are one unit's slices, and a new state is None where the unit
left it alone; and those of all units as `Slices`. They return the last y and the new states
stacked, None where no unit changed them.

With `remat` only what goes from unit to unit is kept for the way back, and each unit is computed
anew there (Chen 2016, arXiv 1604.06174). Its new states of the second time are dropped: running
statistics move once a step.
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
    """The weights and states of `times` units, each with a leading axis, and each rate of theirs
    in every unit."""

    weights: Sequence[Tensor]
    states: Sequence[Tensor]
    rates: Sequence[Sequence[float]]
    times: int


def loop(unit: Unit, x: Tensor, units: Slices, remat: bool) -> tuple[Tensor, States]:
    """All units on x, on the backend that Keras runs on."""
    run = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[keras.backend.backend()]
    return run(unit, x, units, remat)


def _jax(unit: Unit, x: Tensor, units: Slices, remat: bool) -> tuple[Tensor, States]:
    import jax
    import jax.numpy as jnp

    changed: list[int] = []

    def body(x: Tensor, slices: Any) -> tuple[Tensor, list[Tensor]]:
        y, new = unit(x, *slices)
        changed[:] = [i for i, each in enumerate(new) if each is not None]
        return y.astype(x.dtype), [new[i] for i in changed]

    if remat:
        # a scan's bodies share no subexpressions, so nothing need be done to keep them apart
        body = jax.checkpoint(body, prevent_cse=False)
    rates = [jnp.asarray(each, "float32") for each in units.rates]
    scanned = (list(units.weights), list(units.states), rates)
    x, stacked = jax.lax.scan(body, x, scanned, length=units.times)
    found: States = [None] * len(units.states)
    for i, each in zip(changed, stacked, strict=True):
        found[i] = each
    return x, found


def _torch(unit: Unit, x: Tensor, units: Slices, remat: bool) -> tuple[Tensor, States]:
    from contextvars import copy_context

    import torch
    from torch.utils.checkpoint import checkpoint

    # One `unbind` each: on the way back it stacks the slices' gradients once, where indexing would
    # add up as many arrays of the whole size as there are units
    w = [each.unbind(0) for each in units.weights]
    # Copies: on the way back the unit is computed from the states that it had, not from the new
    s = [(each.detach().clone() if remat else each.detach()).unbind(0) for each in units.states]
    remat = remat and torch.is_grad_enabled()

    def one(x: Tensor, i: int) -> tuple[Tensor, States]:
        y, new = unit(x, [v[i] for v in w], [v[i] for v in s], [r[i] for r in units.rates])
        return y.to(x.dtype), [None if v is None else v.detach() for v in new]

    news: list[States] = []
    for i in range(units.times):
        if remat:
            # A GPU's way back has a thread of its own: there too a unit is compiled if it was here.
            # Nothing in it draws from torch's own generators: their state is not kept.
            here = copy_context().run
            x, new = checkpoint(here, one, x, i, use_reentrant=False, preserve_rng_state=False)
        else:
            x, new = one(x, i)
        news.append(new)
    with torch.no_grad():
        each = zip(*news, strict=True)
        return x, [None if v[0] is None else torch.stack(v) for v in each]


def _tensorflow(unit: Unit, x: Tensor, units: Slices, remat: bool) -> tuple[Tensor, States]:
    import tensorflow as tf

    @tf.custom_gradient
    def turned(y: Tensor) -> Any:
        # In a graph's loop, the second derivative of a fused batch norm is wrong where its output's
        # gradient is what the loop carries itself, not an operation's result (test_curvature.py)
        return y, lambda dy: dy * tf.ones((), dy.dtype)

    changed: list[int] = []
    # Read once: on the way back the unit is computed from the states that it had, not the new ones
    states = [tf.identity(each) for each in units.states]
    weights = [tf.identity(each) for each in units.weights]
    parts = [tf.convert_to_tensor(each, "float32") for each in units.rates]
    times = units.times

    def one(x: Tensor, slices: Sequence[Tensor], i: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The unit, and what became of its states, changed or not."""
        now = [tf.gather(each, i) for each in (*states, *parts)]
        mine, rate = now[: len(states)], now[len(states) :]
        y, new = unit(x, slices, mine, rate)
        changed[:] = [k for k, each in enumerate(new) if each is not None]
        kept = [old if each is None else each for old, each in zip(mine, new, strict=True)]
        y = turned(tf.ensure_shape(tf.cast(y, x.dtype), x.shape))
        return y, [tf.stop_gradient(each) for each in kept]

    def empty(like: Tensor) -> Any:
        return tf.TensorArray(like.dtype, times, element_shape=like.shape[1:])

    def forward(x: Tensor, weights: Sequence[Tensor], inputs: list[Any]) -> tuple[Any, ...]:
        """The last y, the states, and the inputs of every unit where there is an array for them."""
        w = [empty(each).unstack(each) for each in weights]

        def body(i: Tensor, x: Tensor, inputs: Any, out: Any) -> tuple[Any, ...]:
            inputs = [each.write(i, x) for each in inputs]
            y, new = one(x, [each.read(i) for each in w], i)
            return i + 1, y, inputs, [a.write(i, v) for a, v in zip(out, new, strict=True)]

        start = (tf.constant(0), x, inputs, [empty(each) for each in states])
        _, y, inputs, out = tf.while_loop(
            lambda i, *_: i < times, body, start, parallel_iterations=1, maximum_iterations=times
        )
        return y, [each.stack() for each in out], inputs

    @tf.custom_gradient
    def recomputed(x: Tensor, *weights: Tensor) -> Any:
        kept = tf.TensorArray(x.dtype, times, element_shape=x.shape)
        y, new, kept = forward(x, weights, [kept])
        inputs = kept[0].stack()

        def backward(dy: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
            def body(n: Tensor, dy: Tensor, grads: Any) -> tuple[Any, ...]:
                i = times - 1 - n
                here = [tf.gather(inputs, i), *(tf.gather(each, i) for each in weights)]
                with tf.GradientTape() as tape:
                    tape.watch(here)
                    y, _ = one(here[0], here[1:], i)
                found = tape.gradient(y, here, dy, unconnected_gradients="zero")
                written = [a.write(i, v) for a, v in zip(grads, found[1:], strict=True)]
                return n + 1, tf.ensure_shape(found[0], dy.shape), written

            start = (tf.constant(0), dy, [empty(each) for each in weights])
            _, dx, grads = tf.while_loop(
                lambda n, *_: n < times,
                body,
                start,
                parallel_iterations=1,
                maximum_iterations=times,
            )
            return dx, *(each.stack() for each in grads)

        return (y, *new), backward

    if remat:
        y, *new = recomputed(x, *weights)
    else:
        y, new, _ = forward(x, weights, [])
    return y, [each if k in changed else None for k, each in enumerate(new)]
