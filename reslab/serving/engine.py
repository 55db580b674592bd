"""A network on one engine, fixed and warmed: serving compares no engines."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import tree

from reslab.core.environment import machine
from reslab.core.errors import UserError
from reslab.engines.inference import check_engine
from reslab.engines.runtimes import ENGINES, ModelForms, OpenVINO, missing_packages, unsupported
from reslab.models.finite import check_finite
from reslab.serving.settings import MOST_BATCH

# ONNX Runtime takes batches of any size without compiling again.
ORDER = "onnxruntime", "openvino", "backend"
SIZES = tuple(2**i for i in range(MOST_BATCH.bit_length()))  # 1, 2, 4, ..., 32


class FixedEngine:
    """A network on one engine, for batches of 1 to 32.

    An engine that compiles for each batch size gets batches of the sizes of `SIZES` only: smaller
    ones are filled up.

    Attributes:
        engine: Its name.
    """

    def __init__(self, model: keras.Model, engine: str) -> None:
        check_engine(engine)
        check_finite(model)
        self._forms = ModelForms(model)
        name = self._choose(engine)
        self._engine = ENGINES[name](self._forms)
        if isinstance(self._engine, OpenVINO):
            self._engine.most_compiled = len(SIZES)
        self.engine: str = self._engine.name

    def _choose(self, engine: str) -> str:
        reason = unsupported(self._forms, "graph") if engine != "backend" else ""
        if engine != "auto":
            if reason:
                raise UserError(f"{engine} does not support {reason}; use the engine 'backend'")
            return engine
        if reason or machine(keras.backend.backend())["gpu"]:
            return "backend"
        return next(name for name in ORDER if not missing_packages(name))

    def __call__(self, images: Any) -> Any:
        """The outputs for a batch: float32, in the structure of the model's outputs."""
        arrays = self._forms.inputs.arrays(images)
        count = len(arrays[0])
        if not self._engine.any_shape and count <= MOST_BATCH:
            size = next(size for size in SIZES if size >= count)
            arrays = [np.concatenate([x, x[:1].repeat(size - count, 0)]) for x in arrays]
        return tree.map_structure(lambda y: y[:count], self._engine(arrays))
