"""Residual networks for Keras 3: described once, trained fast, evaluated honestly.

The names below are loaded when first used, so that `import reslab` does not load Keras.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_UNTOUCHED = {  # what Keras writes at its first import, which is not a choice of the user
    "floatx": "float32",
    "epsilon": 1e-07,
    "backend": "tensorflow",
    "image_data_format": "channels_last",
}


def _choose_backend() -> None:
    """Choose PyTorch, the fastest on a CPU, unless KERAS_BACKEND or keras.json names another."""
    if "keras" in sys.modules or os.environ.get("KERAS_BACKEND"):
        return
    try:
        home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        settings = json.loads((home / "keras.json").read_text(encoding="utf-8"))
        configured = settings.get("backend") if settings != _UNTOUCHED else None
    except (OSError, ValueError, AttributeError, RuntimeError):  # no home: a RuntimeError
        configured = None
    installed = [b for b in ("torch", "jax", "tensorflow") if importlib.util.find_spec(b)]
    backend = configured or next(iter(installed), None)
    if backend:
        os.environ["KERAS_BACKEND"] = backend


_choose_backend()
