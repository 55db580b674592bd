"""Inference with a trained model: batch norm folded, on the fastest engine that is installed."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import keras
import numpy as np
from keras import tree

from reslab.core.environment import machine
from reslab.core.errors import UserError
from reslab.engines.runtimes import ENGINES, Engine, ModelForms, missing_packages, unsupported
from reslab.models.finite import check_finite

Shape = tuple[Any, ...]
log = logging.getLogger("reslab.inference")
CHOICES = "auto", *ENGINES
COMPARISON_SECONDS = 2.0  # approximate, per comparison
MAX_COMPARISONS = 4  # batch shapes for which the engines are compared


def inference(model: keras.Model, engine: str = "auto", compare: bool = True) -> Inference:
    """Prepare a trained model for fast inference in float32.

    Batch norm is folded into the convolutions and dense layers, and the model runs on a fast
    engine. The outputs equal those of the model's weights in float32 to within 1e-4 of their
    largest absolute value. Different engines do not give bit-identical outputs.

    The model is not modified, and later training does not change the returned object. Exception:
    a model that cannot be folded runs as it is and does follow its training. Models with stacked
    units are of this kind; `reslab.weights.flatten` converts them.

    Args:
        model: Any functional or sequential `keras.Model`, of any dtype policy with float32 weights
            (mixed precision too). It may have several inputs and outputs.
        engine: "openvino", "onnxruntime", or "backend" (PyTorch, JAX or TensorFlow, whichever
            Keras uses). "auto" measures the installed engines on the first batch, and on the
            second batch of up to three other shapes, for about two seconds each, and keeps the
            fastest for that shape. Other shapes run on an engine that need not compile for them.
            On a machine with a GPU "auto" is
            "backend". If a layer is not supported by the other engines, "auto" is "backend" too,
            and a warning names the layer.
        compare: Whether "auto" measures. If False, it takes the first installed engine in the
            order given above.

    Returns:
        An `Inference`, which maps images to outputs.

    Raises:
        UserError: `model` is not a Keras model, or has weights that are not finite, or the engine
            does not exist, is not installed, or does not support a layer of the model.
    """
    if not isinstance(model, keras.Model):
        raise UserError(f"inference takes a keras.Model, not {type(model).__name__}")
    check_engine(engine)
    check_finite(model)
    return Inference(ModelForms(model), engine, compare)


def check_engine(engine: str) -> None:
    """Raises UserError for an engine that does not exist or is not installed."""
    if engine not in CHOICES:
        raise UserError(f"no engine {engine!r}; choose one of {', '.join(CHOICES)}")
    if engine != "auto" and (packages := missing_packages(engine)):
        verb = "is" if len(packages) == 1 else "are"
        raise UserError(
            f"the engine {engine} needs {' and '.join(packages)}, which {verb} not installed: "
            f'pip install "reslab[{engine}]"'
        )


class Inference:
    """A model on an inference engine, as `reslab.inference` returns it.

    Call it with one batch, or use `predict` for any number of images. It may be used from several
    threads at once.

    Attributes:
        engine: The engine that ran last: "openvino", "onnxruntime", "torch", "jax" or
            "tensorflow".
        seconds: The results of the comparisons: for each batch shape, the shortest time in
            seconds that each engine took for a batch. With several inputs, a batch shape is the
            tuple of their shapes. Empty if there was no comparison.
    """

    def __init__(self, forms: ModelForms, engine: str, compare: bool) -> None:
        self._forms = forms
        self._engines = _candidates(forms, engine, compare)
        self._chosen: dict[Shape, Engine] = {}
        self._seen: set[Shape] = set()
        self._choosing = threading.Lock()  # other threads would disturb the comparison
        self.engine = self._engines[0].name
        self.seconds: dict[Shape, dict[str, float]] = {}

    def __call__(self, images: Any) -> Any:
        """Compute the model's outputs for one batch.

        Args:
            images: An array (n, *input_shape) of the model's input shape, of any numeric dtype;
                it is converted to float32. For a model with several inputs, a dictionary of such
                arrays by the names of the inputs, or a list of them in the order of
                `model.inputs`; all have the same n. A model whose inputs were given as a
                dictionary takes a dictionary.

        Returns:
            float32 NumPy arrays in the structure of the model's outputs: one array, or a
            dictionary or list of them.

        Raises:
            UserError: The images do not have the model's input shape, an input is missing, or
                there are no images.
        """
        return self._run(self._forms.inputs.arrays(images))

    def _run(self, batch: list[np.ndarray]) -> Any:
        engine = self._engine_for(batch)
        self.engine = engine.name
        return engine(batch)

    def _engine_for(self, batch: list[np.ndarray]) -> Engine:
        if len(self._engines) == 1:
            return self._engines[0]
        shape = _shape(batch)
        if shape in self._chosen:
            return self._chosen[shape]
        with self._choosing:
            first = not self._seen
            compares = first or shape in self._seen
            self._seen.add(shape)
            if shape not in self._chosen and compares and len(self.seconds) < MAX_COMPARISONS:
                self._chosen[shape] = self._fastest(batch)
            return self._chosen.get(shape) or self._for_any_shape()

    def _for_any_shape(self) -> Engine:
        """The engine for a shape that was not measured: one that does not compile for each shape.

        Of several, the one that was fastest for other shapes.
        """
        engines = [e for e in self._engines if e.any_shape] or self._engines
        totals = {e.name: 0.0 for e in engines}
        for seconds in self.seconds.values():
            for name in totals.keys() & seconds.keys():
                totals[name] += seconds[name]
        return min(engines, key=lambda e: totals[e.name])

    def predict(self, images: Any, batch_size: int = 32) -> Any:
        """Compute the model's outputs for any number of images.

        All batches have one size, so that an engine compiles for one shape: there are as few
        batches as `batch_size` allows, and the last one overlaps the one before.

        Args:
            images: An array (n, *input_shape), or several, as for a call.
            batch_size: The largest number of images per batch.

        Returns:
            float32 NumPy arrays in the structure of the model's outputs.

        Raises:
            UserError: The images do not have the model's input shape, there are none, or
                `batch_size` is not a positive integer.
        """
        arrays = self._forms.inputs.arrays(images)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size must be a positive integer, not {batch_size!r}")
        n = len(arrays[0])
        batches = -(-n // batch_size)
        size = -(-n // batches)
        parts = []
        for i in range(batches):
            start = min(i * size, n - size)
            new = i * size - start
            outputs = self._run([x[start:][:size] for x in arrays])
            parts.append(tree.map_structure(lambda y, new=new: y[new:], outputs))
        return tree.map_structure(lambda *ys: np.concatenate(ys), *parts)

    def _fastest(self, batch: list[np.ndarray]) -> Engine:
        """The fastest engine for a batch. They run in turns: other load affects all of them."""
        shortest: dict[int, float] = {}
        contenders = list(enumerate(self._engines))
        for _, engine in contenders:
            engine(batch)  # compilation and warm-up
        start = time.perf_counter()
        while True:
            for i, engine in contenders:
                call_start = time.perf_counter()
                engine(batch)
                seconds = time.perf_counter() - call_start
                shortest[i] = min(seconds, shortest.get(i, seconds))
            best = min(shortest.values())
            contenders = [(i, engine) for i, engine in contenders if shortest[i] < 1.5 * best]
            if len(contenders) == 1 or time.perf_counter() - start > COMPARISON_SECONDS:
                break
        self.seconds[_shape(batch)] = {self._engines[i].name: s for i, s in shortest.items()}
        fastest = self._engines[min(shortest, key=lambda i: shortest[i])]
        log.info(
            "batches of %s run on %s: %s", _shape(batch), fastest.name, self.seconds[_shape(batch)]
        )
        return fastest


def _shape(batch: list[np.ndarray]) -> Shape:
    """The shape of a batch; for several inputs, the tuple of their shapes."""
    return batch[0].shape if len(batch) == 1 else tuple(x.shape for x in batch)


def _candidates(forms: ModelForms, engine: str, compare: bool) -> list[Engine]:
    """The engines to choose from, the preferred one first. Raises UserError."""
    reason = unsupported(forms, "graph") if engine != "backend" else ""
    if engine == "auto":
        installed = [name for name in ENGINES if not missing_packages(name)]
        backend = keras.backend.backend()
        if machine(backend)["gpu"]:
            installed = ["backend"]
        elif reason:
            if installed != ["backend"]:
                log.warning("%s runs the model: no other engine supports %s", backend, reason)
            installed = ["backend"]
        return [ENGINES[name](forms) for name in (installed if compare else installed[:1])]
    if reason:
        raise UserError(f"{engine} does not support {reason}; use the engine 'backend'")
    return [ENGINES[engine](forms)]
