"""`accelerate(model)`: run any Keras model faster, with the same results.

Keras composes batch norm of a dozen operations and, on PyTorch, copies the kernel of a convolution
at every call. Each layer of a model costs it tenths of a millisecond before any arithmetic. Here
the layers stay the stock layers that they are, and are saved as such; only their `call` is
replaced. On PyTorch it uses fused operations, functional models run a plan of these, and the
training step of `fit` looks things up once. On TensorFlow, whose graphs have no such overhead, only
batch norm is replaced. JAX fuses operations itself; only convolutions inside a loop are replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import Any, TypeVar

import keras

from reslab.acceleration import keras_internals as internals
from reslab.acceleration.stock_layers import has_user_value
from reslab.core.errors import UserError

# what a compiled model caches of its calls; made again if it is None
TRACED = {"train_function", "test_function", "predict_function"}
Model = TypeVar("Model", bound=keras.layers.Layer)


def accelerate(model: Model, undo: bool = False) -> Model:
    """Make a Keras model or layer run faster, in place.

    The results stay the same within float error: forward and backward pass, training and inference,
    running statistics, float32 and mixed precision. Layers and models inside are included; layers
    of unknown kinds stay as they are. The model saves the same stock layers.

    On PyTorch, `compile(jit_compile=True)` afterwards compiles functional models by torch.compile,
    in training only; the gradients of such a model have no gradients. On JAX, only stacked units
    change, on a CPU only; they support reverse-mode differentiation only.

    Args:
        model: A Keras model or layer.
        undo: If True, restore Keras's own `call` of every layer and its training step. Two changes
            that affect no number remain: kernels are stored as (out, h, w, in), and with glibc the
            process keeps up to 2 GiB of freed memory for reuse.

    Returns:
        The same model.

    Raises:
        UserError: `model` is not a Keras model or layer, or this version of Keras lacks a private
            name that is needed.
    """
    if not isinstance(model, keras.layers.Layer):
        raise UserError(f"accelerate takes a Keras model, not {type(model).__name__}")
    internals.check_layer(model)
    backend = keras.backend.backend()
    replacements: dict[str, Callable[[Any], Any]]
    parts = list(_parts(model))
    if backend == "torch":
        from reslab.acceleration.torch_memory import keep_freed_memory
        from reslab.acceleration.torch_plan import call_of
        from reslab.acceleration.torch_step import compiles_whole, step_of

        keep_freed_memory()
        replacements = {
            "call": call_of,
            "train_step": step_of,
            internals.SHOULD_TORCH_COMPILE: compiles_whole,
        }
    elif backend == "tensorflow":
        from reslab.acceleration.tensorflow_rules import call_of

        replacements = {"call": call_of}
    else:
        from reslab.acceleration.jax_rules import loop_convolution

        replacements = {"convolution_op": loop_convolution}
        templates = [inner for part in parts for inner in getattr(part, "untracked_models", ())]
        parts = [layer for template in templates for layer in _parts(template)]
    for part in _parts(model):
        for traced in TRACED & vars(part).keys():
            setattr(part, traced, None)
    # inner layers first: a plan depends on what its layers have
    for part, (attribute, replacement) in product(reversed(parts), replacements.items()):
        if has_user_value(part, attribute):
            continue
        vars(part).pop(attribute, None)
        function = None if undo else replacement(part)
        if function is not None:
            function.by_reslab = True
            setattr(part, attribute, function)
    return model


def fast_initialisation() -> AbstractContextManager[None]:
    """Create models inside: the initial weights are the same, and JAX compiles fewer programs."""
    if keras.backend.backend() != "jax":
        return nullcontext()
    from reslab.acceleration.jax_init import few_programs

    return few_programs()


def _parts(model: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Every layer and model inside, with those that Keras does not track (`untracked_models`)."""
    for part in internals.flatten_layers(model):
        yield part
        if isinstance(part, keras.Sequential):
            graph = internals.sequential_graph(part)
            if graph is not None:
                yield graph
        for inner in getattr(part, "untracked_models", ()):
            yield from _parts(inner)
