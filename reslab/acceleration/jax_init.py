"""Initial weights on JAX without compiling a program for every shape.

Keras draws each kernel by a program that XLA compiles for its shape, which takes longer than
everything else that creates a network. JAX's random numbers come from a counter instead of a state,
so that a longer draw starts with the shorter one: programs for a few lengths serve all shapes, with
the same bits.
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

# Short draws are cheap, so that small lengths are few: the kernels of a network need two or three
LENGTHS = 4**6, 4**8, 4**10, 4**11, 4**12
STOCK = {name: getattr(random, name) for name in ("normal", "truncated_normal", "uniform")}


@contextmanager
def few_programs() -> Iterator[None]:
    """Let Keras draw the same numbers inside, with fewer programs to compile."""
    config: Any = jax.config  # its type lacks its settings
    if random.normal is not STOCK["normal"] or not config.jax_threefry_partitionable:
        yield  # nested, or with JAX's older generator, whose longer draws start differently
        return
    standard: dict[str, Callable[..., Any]] = {
        "normal": jax.random.normal,
        "truncated_normal": partial(jax.random.truncated_normal, lower=-2.0, upper=2.0),
    }
    try:
        for name, sample in standard.items():
            setattr(random, name, _scaled(STOCK[name], sample))
        random.uniform = _sliced(STOCK["uniform"])
        yield
    finally:
        for name, draw in STOCK.items():
            setattr(random, name, draw)


def _scaled(draw: Callable[..., Any], sample: Callable[..., Any]) -> Callable[..., Any]:
    """Replace Keras's `sample * stddev + mean` by NumPy's: the same rounding, nothing compiled."""

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
        numbers = _first(lambda longer: sample(key, shape=longer, dtype=kind), shape, length)
        scalar = numbers.dtype.type
        return jax.device_put(numbers * scalar(stddev) + scalar(mean))

    return drawn


def _sliced(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Take the start of a longer draw, unless each number has its own bounds."""

    @wraps(draw)
    def drawn(shape: tuple[int, ...], *args: Any, **kwargs: Any) -> Any:
        length = _length(shape)
        bounds = *args, *(value for name, value in kwargs.items() if name != "seed")
        if length is None or any(np.ndim(bound) for bound in bounds):
            return draw(shape, *args, **kwargs)
        return jax.device_put(_first(lambda longer: draw(longer, *args, **kwargs), shape, length))

    return drawn


def _length(shape: tuple[int, ...]) -> int | None:
    """The length of the shortest shared draw that is long enough; None if there is none."""
    return next((length for length in LENGTHS if length >= prod(shape)), None)


def _first(draw: Callable[[tuple[int]], Any], shape: tuple[int, ...], length: int) -> Any:
    """The first numbers of a draw: by NumPy, whose slices compile nothing, unless it is traced."""
    numbers = draw((length,))
    numbers = numbers if isinstance(numbers, jax.core.Tracer) else np.asarray(numbers)
    return numbers[: prod(shape)].reshape(shape)
