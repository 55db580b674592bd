"""Every private name of Keras that reslab uses.

No other module imports `keras.src` or uses a private attribute of a Keras object, and a test checks
that. A new Keras may drop any of these names without notice: `private` then says in one line which
name is gone. Names of classes and modules are looked up once, when this module or a function for
one backend is first used, so that a training step calls Keras's own functions and nothing between.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from types import ModuleType
from typing import Any, TypeVar

import keras

from reslab.core.errors import UserError

Class = TypeVar("Class", bound=type)


def private(owner: Any, name: str, use: str) -> Any:
    """Get `owner.name`; raises UserError if Keras has dropped it. reslab needs it "to `use`"."""
    try:
        return getattr(owner, name)
    except AttributeError:
        raise _gone(f"{_label(owner)}.{name}", use) from None


def _import(module: str, name: str, use: str) -> Any:
    try:
        return private(import_module(module), name, use)
    except ImportError:
        raise _gone(module, use) from None


def _label(owner: Any) -> str:
    named = isinstance(owner, type | ModuleType)
    return str(owner.__name__ if named else type(owner).__name__)


def _gone(name: str, use: str) -> UserError:
    version = keras.__version__
    older = ".".join(version.split(".")[:2])
    return UserError(
        f"Keras {version} has no {name}, which reslab needs to {use}: "
        f"install another version, such as keras<{older}"
    )


# Layers and models -------------------------------------------------------------------------------

# Layers have these only once they are made: `check_layer` looks for them, and faster code uses them
DTYPE_POLICY = "_dtype_policy"
REMAT_MODE = "_remat_mode"
CONTEXT_ARGUMENTS = "_call_context_args"
_OF_LAYERS = {
    DTYPE_POLICY: "see that a layer computes in another dtype than before",
    REMAT_MODE: "leave layers alone that recompute their activations",
    CONTEXT_ARGUMENTS: "pass `training` on to a layer of another kind",
    "_layers": "see that a layer of a model was changed",
    "_call_has_training_arg": "call a model in training",
}
layers_of = attrgetter("_layers")
has_training_argument = attrgetter("_call_has_training_arg")

# (model): the model and all layers inside, those of models inside too
flatten_layers = private(keras.layers.Layer, "_flatten_layers", "find the layers of a model")


def check_layer(layer: Any) -> None:
    """Raise UserError if layers no longer have one of the attributes that reslab reads."""
    for name, use in _OF_LAYERS.items():
        private(layer, name, use)


def sequential_graph(model: keras.Sequential) -> Any:
    """The functional model that a sequential one calls; None before its input shape is known."""
    return private(model, "_functional", "accelerate sequential models")


def kernel_variable(layer: Any) -> Any:
    """The variable of a convolution's kernel, where `layer.kernel` adds what LoRA learns."""
    return private(layer, "_kernel", "store kernels in the order that convolutions read")


# Functional models -------------------------------------------------------------------------------

_PLAN = "run a functional model without the overhead of its layers"
Functional = _import("keras.src.models.functional", "Functional", _PLAN)
standardize_inputs = private(Functional, "_standardize_inputs", _PLAN)  # (model, inputs)
AutocastScope = _import("keras.src.backend.common.variables", "AutocastScope", _PLAN)
in_stateless_scope = _import(
    "keras.src.backend.common.stateless_scope", "in_stateless_scope", "update running statistics"
)


def output_structure(model: Any) -> Any:
    """The outputs of a functional model, as nested as its user wrote them."""
    return private(model, "_outputs_struct", _PLAN)


def nodes_by_depth(function: Any) -> dict[int, list[Any]]:
    """The nodes of a functional graph; the deepest are computed first."""
    return private(function, "_nodes_by_depth", "read the graph of a model")


# Training ----------------------------------------------------------------------------------------

compute_loss = private(keras.Model, "_compute_loss", "compute the loss of a training step")
loss_tracker = attrgetter("_loss_tracker")  # another one after each `compile`

# Methods of optimisers: (optimizer, variable), and (optimizer, variables) or so on for the last two
variable_index = private(
    keras.optimizers.Optimizer, "_get_variable_index", "find the velocity of a variable"
)
uses_weight_decay = private(
    keras.optimizers.Optimizer, "_use_weight_decay", "let only some variables decay"
)
_UPDATE = "_backend_update_step"
_DECAY = "_apply_weight_decay"
update_variables = private(keras.optimizers.Optimizer, _UPDATE, "update all variables at once")
apply_weight_decay = private(
    keras.optimizers.Optimizer, _DECAY, "give each variable its own rate of weight decay"
)


def overrides(**methods: Callable[..., Any]) -> Callable[[Class], Class]:
    """Decorate an optimiser: let its public methods replace private methods of Keras's.

    `@overrides(update=update_variables)` replaces `update_variables` by the method `update`.
    """

    def decorate(cls: Class) -> Class:
        for public, method in methods.items():
            setattr(cls, method.__name__, vars(cls)[public])
        return cls

    return decorate


def optimizer_variables(optimizer: Any) -> list[Any]:
    """The variables that an optimiser updates."""
    return private(
        optimizer, "_trainable_variables", "store an optimiser's variables like their weights"
    )


# One backend each --------------------------------------------------------------------------------

SHOULD_TORCH_COMPILE = "_should_torch_compile"
PARALLEL_UPDATE = "_parallel_update_step"


def torch_trainer() -> Any:
    """The class with the training step of all models on PyTorch."""
    use = "run the training step on PyTorch"
    trainer = _import("keras.src.backend.torch.trainer", "TorchTrainer", use)
    private(trainer, SHOULD_TORCH_COMPILE, "compile models on PyTorch")
    return trainer


def torch_sgd() -> Any:
    """The class of Keras's SGD on PyTorch."""
    use = "run SGD in one pass on PyTorch"
    sgd = _import("keras.src.backend.torch.optimizers.torch_sgd", "SGD", use)
    private(sgd, PARALLEL_UPDATE, use)
    return sgd


def jax_random() -> Any:
    """The module whose functions draw random numbers on JAX; its `normal` and others are set."""
    use = "initialise weights without compiling a program for every shape"
    random = _import("keras.src.backend.jax", "random", use)
    for name in ("jax_draw_seed", "normal", "truncated_normal", "uniform"):
        private(random, name, use)
    return random
