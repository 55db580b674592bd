"""Repeated units as a while loop on TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from reslab.models.stacked.loops import Slices, States, Tensor, Unit


def loop(unit: Unit, x: Tensor, units: Slices, remat: bool) -> tuple[Tensor, States]:
    """Run all units on x; see `reslab.models.stacked.loops`."""
    run = _Loop(unit, units)
    if remat:
        y, *states = run.recomputed(x, *run.weights)
    else:
        y, states, _ = run.forward(x, run.weights, [])
    return y, [state if i in run.changed else None for i, state in enumerate(states)]


@tf.custom_gradient
def _with_copied_gradient(y: Tensor) -> Any:
    # In a graph's loop, the second derivative of a fused batch norm is wrong where its output's
    # gradient is what the loop carries itself, not an operation's result (test_curvature.py)
    return y, lambda dy: dy * tf.ones((), dy.dtype)


class _Loop:
    """The units of one call, and which of their states change."""

    def __init__(self, unit: Unit, units: Slices) -> None:
        self.unit, self.times = unit, units.times
        self.changed: list[int] = []
        # Read once: the backward pass recomputes a unit from the states before the forward pass
        self.states = [tf.identity(state) for state in units.states]
        self.weights = [tf.identity(weight) for weight in units.weights]
        self.rates = [tf.convert_to_tensor(rates, "float32") for rates in units.rates]

    def compute(
        self, x: Tensor, weights: Sequence[Tensor], i: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Run unit i; returns its output and all of its states, changed or not."""
        slices = [tf.gather(values, i) for values in (*self.states, *self.rates)]
        states, rates = slices[: len(self.states)], slices[len(self.states) :]
        y, new_states = self.unit(x, weights, states, rates)
        self.changed[:] = [k for k, new in enumerate(new_states) if new is not None]
        pairs = zip(states, new_states, strict=True)
        states = [old if new is None else new for old, new in pairs]
        y = _with_copied_gradient(tf.ensure_shape(tf.cast(y, x.dtype), x.shape))
        return y, [tf.stop_gradient(state) for state in states]

    def array(self, like: Tensor) -> Any:
        """An empty array of one slice of `like` per unit."""
        return tf.TensorArray(like.dtype, self.times, element_shape=like.shape[1:])

    def repeat(self, body: Any, start: tuple[Any, ...]) -> tuple[Any, ...]:
        times = self.times
        return tf.while_loop(
            lambda i, *_: i < times, body, start, parallel_iterations=1, maximum_iterations=times
        )

    def forward(self, x: Tensor, weights: Sequence[Tensor], inputs: list[Any]) -> tuple[Any, ...]:
        """Run all units; returns the last output, the states, and `inputs`.

        `inputs` is an array that the input of every unit is written to, in a list, or empty.
        """
        arrays = [self.array(weight).unstack(weight) for weight in weights]

        def body(i: Tensor, x: Tensor, inputs: Any, states: Any) -> tuple[Any, ...]:
            inputs = [array.write(i, x) for array in inputs]
            y, new_states = self.compute(x, [array.read(i) for array in arrays], i)
            pairs = zip(states, new_states, strict=True)
            return i + 1, y, inputs, [array.write(i, state) for array, state in pairs]

        start = (tf.constant(0), x, inputs, [self.array(state) for state in self.states])
        _, y, inputs, states = self.repeat(body, start)
        return y, [array.stack() for array in states], inputs

    def recomputed(self, x: Tensor, *weights: Tensor) -> Any:
        """Run all units, with a gradient that recomputes each unit from its input."""

        @tf.custom_gradient
        def run(x: Tensor, *weights: Tensor) -> Any:
            array = tf.TensorArray(x.dtype, self.times, element_shape=x.shape)
            y, states, arrays = self.forward(x, weights, [array])
            inputs = arrays[0].stack()
            return (y, *states), lambda dy, *_: self.backward(inputs, weights, dy)

        return run(x, *weights)

    def backward(self, inputs: Tensor, weights: Sequence[Tensor], dy: Tensor) -> tuple[Tensor, ...]:
        """The gradients of the first input and of the weights."""

        def body(n: Tensor, dy: Tensor, arrays: Any) -> tuple[Any, ...]:
            i = self.times - 1 - n
            sources = [tf.gather(inputs, i), *(tf.gather(weight, i) for weight in weights)]
            with tf.GradientTape() as tape:
                tape.watch(sources)
                y, _ = self.compute(sources[0], sources[1:], i)
            dx, *gradients = tape.gradient(y, sources, dy, unconnected_gradients="zero")
            pairs = zip(arrays, gradients, strict=True)
            arrays = [array.write(i, gradient) for array, gradient in pairs]
            return n + 1, tf.ensure_shape(dx, dy.shape), arrays

        start = (tf.constant(0), dy, [self.array(weight) for weight in weights])
        _, dx, arrays = self.repeat(body, start)
        return dx, *(array.stack() for array in arrays)
