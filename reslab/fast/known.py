"""Which layers do no more than their kind does."""

from __future__ import annotations

from typing import Any


def plain(layer: Any) -> bool:
    """Nothing about the layer goes beyond what its kind does."""
    unusual = (
        getattr(layer, "activity_regularizer", None),
        getattr(layer, "quantization_mode", None),
        getattr(layer, "_remat_mode", None),
        getattr(layer, "lora_enabled", False),
        getattr(layer, "_forward_hooks", None),
        getattr(layer, "_forward_pre_hooks", None),
    )
    return layer.built and not any(unusual)
