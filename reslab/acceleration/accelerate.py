"""Any Keras model, faster, by the same numbers: `accelerate(model)`.

Keras composes batch norm of a dozen operations and, on PyTorch, copies each convolution's kernel
at every call; and every layer of a model costs it tenths of a millisecond before any sum is done.
Here the layers are left as they are, stock ones that save as such, and only what their `call` does
is replaced: on PyTorch by its fused operations, and for a functional model by a plan of them (and
the step of `fit` by one that looks things up once); on TensorFlow, whose graph is free of the rest,
batch norm alone; on JAX, which fuses operations itself, the convolutions in a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import Any, TypeVar

import keras

from reslab.acceleration import keras_internals as internals
from reslab.acceleration.stock_layers import has_own
from reslab.core.errors import UserError

# what a compiled model keeps of its calls; made again when it is None
TRACED = {"train_function", "test_function", "predict_function"}
Model = TypeVar("Model", bound=keras.layers.Layer)


def accelerate(model: Model, undo: bool = False) -> Model:
    """Make a Keras model faster in place, its layers and the models inside it; returns it.

    What it computes stays the same within float error, forward and backward, in training and at
    inference, running statistics included, in float32 and mixed precision; what it saves are the
    same stock layers. Layers that are not known stay as they are. `undo` gives every layer its own
    `call` again, and every model Keras's step; two things stay that change no number: kernels lie
    in memory as (out, h, w, in), and the process keeps up to 2 GiB of freed memory for later (with
    glibc). On JAX only stacked units are changed, on a CPU; they know reverse mode alone then.
    With `compile(jit_compile=True)` on PyTorch, torch.compile makes kernels of functional models,
    where their layers are known here, and in training alone; such gradients have no gradients.
    Raises UserError for what is no Keras model or layer.
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
        from reslab.acceleration.jax_rules import loops_convolution

        replacements = {"convolution_op": loops_convolution}
        looped = [inner for part in parts for inner in getattr(part, "unseen", ())]
        parts = [layer for inner in looped for layer in _parts(inner)]
    for part in _parts(model):
        for traced in TRACED & vars(part).keys():
            setattr(part, traced, None)
    # a plan looks at what its layers have
    for part, (attribute, replacement) in product(reversed(parts), replacements.items()):
        if has_own(part, attribute):
            continue
        vars(part).pop(attribute, None)
        made = None if undo else replacement(part)
        if made is not None:
            made.by_reslab = True
            setattr(part, attribute, made)
    return model


def making() -> AbstractContextManager[None]:
    """To make models in: Keras draws the same first weights, and JAX compiles less for it."""
    if keras.backend.backend() != "jax":
        return nullcontext()
    from reslab.acceleration.jax_init import few_programs

    return few_programs()


def _parts(model: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Every layer and model inside; those too that a layer keeps from Keras's eyes (`unseen`)."""
    for part in internals.flatten_layers(model):
        yield part
        if isinstance(part, keras.Sequential):
            graph = internals.sequential_graph(part)
            if graph is not None:
                yield graph
        for inner in getattr(part, "unseen", ()):
            yield from _parts(inner)
