"""What flows through deep nets: gradients and activations by layer, responses, lesions.

`signals` (of a network's twins) and `signals_of` (of trained runs) measure both ways by layer,
`responses` the paper's Fig. 7, `lesions` the error without single units. Each leaves a `Study`.
What only reads one (`showing` and what it imports) needs no Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "lesions": "removal",
    "responses": "deviations",
    "signals": "twins",
    "signals_of": "trained",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
