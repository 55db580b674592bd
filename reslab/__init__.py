"""Residual networks for Keras 3: described once, trained fast, judged honestly.

The names below are loaded when first used, so that `import reslab` does not load Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "create": "reslab.build",
    "network": "reslab.zoo",
    "Network": "reslab.spec",
    "Recipe": "reslab.recipe",
    "recipe": "reslab.recipe",
    "Run": "reslab.run",
    "train": "reslab.train",
    "evaluate": "reslab.evaluate",
    "predict": "reslab.predict",
    "UserError": "reslab.errors",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'reslab' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
