"""Networks as values: parts, chains, residual units, shapes and counts. No Keras."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
