"""Context managers around Keras: the dtype policy, no gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras


@contextmanager
def policy(wanted: Any) -> Iterator[None]:
    """Layers made inside have this dtype policy: Keras's name of one, or one itself."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(wanted)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def without_gradients() -> AbstractContextManager[Any]:
    """PyTorch keeps nothing for a way back of what is computed inside; the others never do."""
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()
