"""Initial weights on JAX: the values of Keras, from few compiled programs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from reslab.acceleration.accelerate import fast_initialisation
from tests.helpers.models import array

pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(
        keras.backend.backend() != "jax", reason="initialisation is changed only on JAX"
    ),
]
LARGE = 4100, 4100  # longer than the longest shared draw
INITIALISERS = [
    keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal", seed=3),
    keras.initializers.HeNormal(seed=5),
    keras.initializers.RandomUniform(-0.3, 0.1, seed=7),
]


@pytest.mark.parametrize("initialiser", INITIALISERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    "shape", [(3, 3, 5, 16), (4096, 1), (64, 10), (17, 243), (1, 70000), (0,), LARGE]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_initial_weights_equal_those_of_keras(
    initialiser: Any, shape: tuple[int, ...], dtype: str
) -> None:
    with fast_initialisation():
        numbers = initialiser(shape, dtype)
    assert keras.backend.standardize_dtype(numbers.dtype) == dtype
    np.testing.assert_array_equal(array(numbers), array(initialiser(shape, dtype)))


def test_means_for_each_number_are_used() -> None:
    """Also after a nested context, which must not end the outer one."""
    means = keras.ops.reshape(keras.ops.arange(6.0), (2, 3))
    expected = keras.random.normal((2, 3), mean=means, seed=1)
    with fast_initialisation():
        with fast_initialisation():
            pass
        numbers = keras.random.normal((2, 3), mean=means, seed=1)
    np.testing.assert_array_equal(array(numbers), array(expected))


def test_jax_compiles_its_draws_for_few_lengths() -> None:
    import jax

    compiled: list[str] = []

    def listener(event: str, _: float, **__: Any) -> None:
        if "backend_compile" in event:
            compiled.append(event)

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(listener)
    draw = INITIALISERS[0]
    try:
        with fast_initialisation():
            draw((3, 3, 3, 2))
            first = len(compiled)
            for n in range(3, 30):
                draw((3, 3, 3, n))
            several = len(compiled)
            with fast_initialisation():  # no compilation in a nested context, nor after it
                draw((3, 3, 3, 30))
            draw((3, 3, 3, 31))
            nested = len(compiled)
            traced = jax.jit(lambda: draw((3, 3, 3, 5)))()
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert first == several == nested > 0
    np.testing.assert_allclose(traced, draw((3, 3, 3, 5)), rtol=1e-6)  # fused: an ulp
