"""Loss surfaces around trained weights (Li et al. 2018, "Visualizing the Loss Landscape").

`landscape` measures and draws them. What only reads a study (`showing`, `surfaces`) needs no Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"landscape": "driving"}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
