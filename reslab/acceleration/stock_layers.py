"""Which layers do nothing beyond what their class does."""

from __future__ import annotations

from typing import Any

from reslab.acceleration.keras_internals import DTYPE_POLICY, REMAT_MODE

# Rules read these once, and a user may change them, to quantise a layer for example.
_CHANGEABLE = (
    DTYPE_POLICY,
    "activation",
    "activity_regularizer",
    "call",
    "epsilon",
    "lora_enabled",
    "quantization_config",
)


_HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"


def has_hooks(layer: Any) -> bool:
    """Whether hooks of PyTorch are registered on the layer."""
    get = vars(layer).get
    return any(map(get, _HOOKS))


def plain(layer: Any) -> bool:
    """Whether the layer does nothing beyond what its class does."""
    unusual = (
        getattr(layer, "activity_regularizer", None),
        getattr(layer, "quantization_mode", None),
        getattr(layer, REMAT_MODE, None),
        getattr(layer, "lora_enabled", False),
        has_hooks(layer),
        not getattr(layer, "autocast", True),
        has_user_value(layer, "call"),
    )
    return layer.built and not any(unusual)


def has_user_value(layer: Any, attribute: str) -> bool:
    """Whether the user has set an attribute, such as `call`, on this layer."""
    value = vars(layer).get(attribute)
    return value is not None and not hasattr(value, "by_reslab")


def state(layer: Any) -> tuple[Any, ...]:
    """The attributes that a rule depends on: if they change, the rule is applied again."""
    return *map(vars(layer).get, _CHANGEABLE), has_hooks(layer)
