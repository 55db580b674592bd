"""Weights that are not finite: a model that has them is not saved, and not used as if it were good.

Some engines compute finite outputs from NaN, and an infinite running variance gives finite outputs
everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError


def not_finite(arrays: Mapping[str, np.ndarray]) -> str:
    """The name of the first array with NaN or infinity; "" if there is none."""
    return next((name for name, array in arrays.items() if not np.isfinite(array).all()), "")


def diverged(model: Any) -> str:
    """The path of the first variable with NaN or infinity; "" if there is none."""
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            path = variable.path
            if not_finite({path: keras.ops.convert_to_numpy(variable)}):
                return str(path)
    return ""


def check_finite(model: Any, subject: str | None = None) -> None:
    """Raise UserError if a weight of the model is NaN or infinite."""
    if variable := diverged(model):
        raise UserError(
            f"the weights of {subject or model.name} are not finite ({variable}): its training "
            "diverged; train again with a lower learning rate"
        )
