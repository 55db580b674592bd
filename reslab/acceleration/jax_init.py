"""The numbers that weights start from on JAX, without a program for every shape.

Keras draws each kernel by a program that XLA compiles for its shape, and that takes longer than
all else that a network's making needs. JAX counts the numbers that it draws instead of passing a
state on from one to the next, so that a longer draw begins with the shorter one: programs for a few
lengths serve all shapes, with the same numbers to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from math import prod
from typing import Any

import jax
import keras
import numpy as np

from reslab.acceleration.keras_internals import jax_random

random = jax_random()

# Short draws cost nothing, so the first steps are wide: a network's kernels take two or three
LENGTHS = 4**6, 4**8, 4**10, 4**11, 4**12
STOCK = {name: getattr(random, name) for name in ("normal", "truncated_normal", "uniform")}


@contextmanager
def few_programs() -> Iterator[None]:
    """What Keras draws inside is what it draws outside, with less to compile."""
    config: Any = jax.config  # whose settings its type does not have
    if random.normal is not STOCK["normal"] or not config.jax_threefry_partitionable:
        yield  # inside of another, or the older way, where a longer draw begins otherwise
        return
    standard: dict[str, Callable[..., Any]] = {
        "normal": jax.random.normal,
        "truncated_normal": partial(jax.random.truncated_normal, lower=-2.0, upper=2.0),
    }
    try:
        for name, sample in standard.items():
            setattr(random, name, _scaled(STOCK[name], sample))
        random.uniform = _begun(STOCK["uniform"])
        yield
    finally:
        for name, draw in STOCK.items():
            setattr(random, name, draw)


def _scaled(draw: Callable[..., Any], sample: Callable[..., Any]) -> Callable[..., Any]:
    """`draw` is Keras's `sample * stddev + mean`: here by NumPy, which rounds as often and compiles
    nothing."""

    @wraps(draw)
    def drawn(
        shape: tuple[int, ...],
        mean: Any = 0.0,
        stddev: Any = 1.0,
        dtype: Any = None,
        seed: Any = None,
    ) -> Any:
        length = _length(shape)
        if length is None or not {type(mean), type(stddev)} <= {float, int}:
            return draw(shape, mean, stddev, dtype, seed)
        key, kind = random.jax_draw_seed(seed), dtype or keras.config.floatx()
        begun = _beginning(lambda longer: sample(key, shape=longer, dtype=kind), shape, length)
        number = begun.dtype.type
        return jax.device_put(begun * number(stddev) + number(mean))

    return drawn


def _begun(draw: Callable[..., Any]) -> Callable[..., Any]:
    """The draw, as the beginning of a longer one; as it is where each number has its own bounds."""

    @wraps(draw)
    def drawn(shape: tuple[int, ...], *args: Any, **kwargs: Any) -> Any:
        length = _length(shape)
        bounds = *args, *(given for name, given in kwargs.items() if name != "seed")
        if length is None or any(np.ndim(given) for given in bounds):
            return draw(shape, *args, **kwargs)
        return jax.device_put(
            _beginning(lambda longer: draw(longer, *args, **kwargs), shape, length)
        )

    return drawn


def _length(shape: tuple[int, ...]) -> int | None:
    """Of the shared draw that is long enough; a shape beyond them all has none."""
    return next((length for length in LENGTHS if length >= prod(shape)), None)


def _beginning(draw: Callable[[tuple[int]], Any], shape: tuple[int, ...], length: int) -> Any:
    """Of a draw of that length: in NumPy, whose slices compile nothing, or what is traced."""
    longer = draw((length,))
    whole = longer if isinstance(longer, jax.core.Tracer) else np.asarray(longer)
    return whole[: prod(shape)].reshape(shape)
