"""Residual networks for Keras 3: described once, trained fast, judged honestly.

The names below are loaded when first used, so that `import reslab` does not load Keras.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "accelerate": "reslab.fast",
    "create": "reslab.weights",
    "network": "reslab.zoo",
    "Network": "reslab.spec",
    "Recipe": "reslab.recipes",
    "recipe": "reslab.recipes",
    "Run": "reslab.run",
    "train": "reslab.training",
    "resume": "reslab.training",
    "recalibrate": "reslab.finetuning",
    "evaluate": "reslab.evaluation",
    "predict": "reslab.prediction",
    "inference": "reslab.serving",
    "load": "reslab.whole",
    "weights": "reslab.weights",
    "UserError": "reslab.errors",
}
__all__ = ["__version__", *sorted(_HOMES)]
_UNTOUCHED = {  # what Keras writes into keras.json when it is first imported: nobody's choice
    "floatx": "float32",
    "epsilon": 1e-07,
    "backend": "tensorflow",
    "image_data_format": "channels_last",
}


def _choose_backend() -> None:
    """PyTorch, unless KERAS_BACKEND or keras.json says otherwise: the fastest here on a CPU."""
    if "keras" in sys.modules or os.environ.get("KERAS_BACKEND"):
        return
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    try:
        settings = json.loads((Path(home) / "keras.json").read_text())
        configured = settings.get("backend") if settings != _UNTOUCHED else None
    except (OSError, ValueError, AttributeError):
        configured = None
    found = [b for b in ("torch", "jax", "tensorflow") if importlib.util.find_spec(b)]
    backend = configured or next(iter(found), None)
    if backend:
        os.environ["KERAS_BACKEND"] = backend


_choose_backend()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'reslab' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    return home if home.__name__ == f"reslab.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
