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
        model: Any functional or sequential `keras.Model` with one input, of any dtype policy with
            float32 weights (mixed precision too).
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
        UserError: `model` is not a Keras model with one input, or has weights that are not finite,
            or the engine does not exist, is not installed, or does not support a layer of the
            model.
    """
    if not isinstance(model, keras.Model):
        raise UserError(f"inference takes a keras.Model, not {type(model).__name__}")
    if len(getattr(model, "inputs", None) or [0]) != 1:
        raise UserError(f"inference takes a model with one input; {model.name} has several")
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


def check_finite(model: keras.Model) -> None:
    """Raises UserError if a weight is NaN or infinite: some engines compute finite outputs then."""
    for variable in model.variables:
        if not keras.backend.is_float_dtype(variable.dtype):
            continue
        if not bool(keras.ops.all(keras.ops.isfinite(variable))):
            raise UserError(
                f"the weights of {model.name} are not finite ({variable.path}): its training "
                "diverged; train again with a lower learning rate"
            )


class Inference:
    """A model on an inference engine, as `reslab.inference` returns it.

    Call it with one batch, or use `predict` for any number of images. It may be used from several
    threads at once.

    Attributes:
        engine: The engine that ran last: "openvino", "onnxruntime", "torch", "jax" or
            "tensorflow".
        seconds: The results of the comparisons: for each batch shape, the shortest time in
            seconds that each engine took for a batch. Empty if there was no comparison.
    """

    def __init__(self, forms: ModelForms, engine: str, compare: bool) -> None:
        self._forms = forms
        self._engines = _candidates(forms, engine, compare)
        self._chosen: dict[tuple[int, ...], Engine] = {}
        self._seen: set[tuple[int, ...]] = set()
        self._choosing = threading.Lock()  # other threads would disturb the comparison
        self.engine = self._engines[0].name
        self.seconds: dict[tuple[int, ...], dict[str, float]] = {}

    def __call__(self, images: Any) -> Any:
        """Compute the model's outputs for one batch.

        Args:
            images: An array (n, *input_shape) of the model's input shape, of any numeric dtype;
                it is converted to float32.

        Returns:
            float32 NumPy arrays in the structure of the model's outputs: one array, or a
            dictionary or list of them.

        Raises:
            UserError: The images do not have the model's input shape, or there are none.
        """
        x = self._validated(images)
        engine = self._engine_for(x)
        self.engine = engine.name
        return engine(x)

    def _engine_for(self, x: np.ndarray) -> Engine:
        if len(self._engines) == 1:
            return self._engines[0]
        if x.shape in self._chosen:
            return self._chosen[x.shape]
        with self._choosing:
            first = not self._seen
            compares = first or x.shape in self._seen
            self._seen.add(x.shape)
            if x.shape not in self._chosen and compares and len(self.seconds) < MAX_COMPARISONS:
                self._chosen[x.shape] = self._fastest(x)
            return self._chosen.get(x.shape) or self._for_any_shape()

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
            images: An array (n, *input_shape), as for a call.
            batch_size: The largest number of images per batch.

        Returns:
            float32 NumPy arrays in the structure of the model's outputs.

        Raises:
            UserError: The images do not have the model's input shape, there are none, or
                `batch_size` is not a positive integer.
        """
        x = self._validated(images)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size must be a positive integer, not {batch_size!r}")
        batches = -(-len(x) // batch_size)
        size = -(-len(x) // batches)
        parts = []
        for i in range(batches):
            start = min(i * size, len(x) - size)
            new = i * size - start
            parts.append(tree.map_structure(lambda y, new=new: y[new:], self(x[start:][:size])))
        return tree.map_structure(lambda *ys: np.concatenate(ys), *parts)

    def _validated(self, images: Any) -> np.ndarray:
        x = _as_array(images)
        inputs = getattr(self._forms.model, "inputs", None) or []
        expected = tuple(inputs[0].shape) if inputs else x.shape  # a custom model has no inputs
        fits = x.ndim == len(expected) and all(
            n in (None, m) for n, m in zip(expected[1:], x.shape[1:], strict=True)
        )
        if not fits:
            shape = ", ".join("any" if n is None else str(n) for n in expected[1:])
            raise UserError(f"the model takes images (n, {shape}), not an array of {x.shape}")
        if not len(x):
            raise UserError("no images were given")
        # the sum is finite unless a value is not, or it is too large for float32
        with np.errstate(over="ignore", invalid="ignore"):
            total = x.sum()
        if not np.isfinite(total) and not np.isfinite(x).all():
            raise UserError("the images have values that are not finite (NaN or infinity)")
        return x

    def _fastest(self, x: np.ndarray) -> Engine:
        """The fastest engine for x. They run in turns, so that other load affects all of them."""
        shortest: dict[int, float] = {}
        contenders = list(enumerate(self._engines))
        for _, engine in contenders:
            engine(x)  # compilation and warm-up
        start = time.perf_counter()
        while True:
            for i, engine in contenders:
                call_start = time.perf_counter()
                engine(x)
                seconds = time.perf_counter() - call_start
                shortest[i] = min(seconds, shortest.get(i, seconds))
            best = min(shortest.values())
            contenders = [(i, engine) for i, engine in contenders if shortest[i] < 1.5 * best]
            if len(contenders) == 1 or time.perf_counter() - start > COMPARISON_SECONDS:
                break
        self.seconds[x.shape] = {self._engines[i].name: s for i, s in shortest.items()}
        fastest = self._engines[min(shortest, key=lambda i: shortest[i])]
        log.info("batches of %s run on %s: %s", x.shape, fastest.name, self.seconds[x.shape])
        return fastest


def _as_array(images: Any) -> np.ndarray:
    """Images as one array of float32. Raises UserError for anything else."""
    for method in ("detach", "cpu"):  # a tensor of PyTorch that has a gradient, or is on a GPU
        if hasattr(images, method):
            images = getattr(images, method)()
    try:
        if isinstance(images, list | tuple):
            images = [np.asarray(_as_array(x) if hasattr(x, "detach") else x) for x in images]
            shapes = sorted({x.shape for x in images}, key=str)
            if len(shapes) > 1:
                raise UserError(
                    f"the images have {len(shapes)} shapes, such as {shapes[0]} and {shapes[1]}: "
                    "resize them to one, or give each alone"
                )
        array = np.asarray(images)
        if array.dtype.kind not in "fiubV" or array.dtype.fields:
            raise TypeError
        return np.ascontiguousarray(array, "float32")
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(images).__name__
        reason = f": {str(error).splitlines()[0]}" if str(error) else ""
        raise UserError(
            f"a {kind} is not an array of numbers (n, height, width, channels){reason}; "
            "reslab.load(...).preprocess reads image files"
        ) from None


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
