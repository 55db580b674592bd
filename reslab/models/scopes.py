"""Context managers around Keras: the dtype policy, no gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras


@contextmanager
def policy(value: Any) -> Iterator[None]:
    """Give this dtype policy, or the policy of this name, to layers created inside."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(value)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def without_gradients() -> AbstractContextManager[Any]:
    """Record nothing for a backward pass inside, on PyTorch; the other backends never do."""
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()
