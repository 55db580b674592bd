"""Which layers do no more than their kind does."""

from __future__ import annotations

from typing import Any

from reslab.acceleration.keras_internals import DTYPE_POLICY, REMAT_MODE

# what rules ask once of a layer, and a user may change: to see what it attends to, to quantise it
_CHANGEABLE = (
    DTYPE_POLICY,
    "activation",
    "activity_regularizer",
    "call",
    "epsilon",
    "lora_enabled",
    "quantization_config",
)


def plain(layer: Any) -> bool:
    """Nothing about the layer goes beyond what its kind does."""
    unusual = (
        getattr(layer, "activity_regularizer", None),
        getattr(layer, "quantization_mode", None),
        getattr(layer, REMAT_MODE, None),
        getattr(layer, "lora_enabled", False),
        getattr(layer, "_forward_hooks", None),
        getattr(layer, "_forward_pre_hooks", None),
        not getattr(layer, "autocast", True),
        has_own(layer, "call"),
    )
    return layer.built and not any(unusual)


def has_own(layer: Any, attribute: str) -> bool:
    """Whether the user gave this one layer a `call`, say, of its own."""
    own = vars(layer).get(attribute)
    return own is not None and not hasattr(own, "by_reslab")


def state(layer: Any) -> tuple[Any, ...]:
    """What a rule goes by, to be compared: where it differs, the rule is asked again."""
    get = vars(layer).get
    hooks = len(get("_forward_hooks", ())), len(get("_forward_pre_hooks", ()))
    return *map(get, _CHANGEABLE), *hooks
