"""A trained model at full speed: batch norm folded, on the fastest engine that is installed."""

from __future__ import annotations

import logging
import time
from typing import Any

import keras
import numpy as np
from keras import tree

from reslab.core.environment import machine
from reslab.core.errors import UserError
from reslab.engines.runtimes import ENGINES, NEEDS, Engine, Plan, missing, unsupported

log = logging.getLogger("reslab.inference")
CHOICES = "auto", *ENGINES
SPENT = 2.0  # seconds of comparing engines, about, for each shape of a batch


def inference(model: keras.Model, engine: str = "auto", compare: bool = True) -> Inference:
    """The model with batch norm folded into its convolutions, on a fast engine; float32.

    `engine` is "openvino", "onnxruntime" or "backend" (PyTorch, JAX or TensorFlow, whichever
    Keras runs on). "auto" times those that are installed on the first batch of each shape, for
    about two seconds, and keeps to the fastest. Without `compare` it takes the first that there is
    in this order, as it does with "backend" where that has a GPU. What comes out equals what the
    model's weights give in float32 to 1e-4 of its scale, and to the bit only on one engine.

    The model is any functional or sequential Keras model in inference, of mixed precision too. It
    is left as it is, and what is trained later does not show. Where it has a layer that the engines
    do not know, "auto" leaves it to the backend, and logs the layer's name; what cannot be folded
    at all (stacked units: `weights.flatten` writes them out) runs as it is, and follows the model.

    Raises UserError for an engine that there is not, is not installed or does not know a layer.
    """
    if not isinstance(model, keras.Model):
        raise UserError(f"inference takes a keras.Model, not {type(model).__name__}")
    if len(getattr(model, "inputs", None) or [0]) != 1:
        raise UserError(f"inference takes a model of one input: {model.name} has several")
    check(engine)
    return Inference(Plan(model), engine, compare)


def check(engine: str) -> None:
    """Raises UserError for an engine that there is not, or that is not installed."""
    if engine not in CHOICES:
        raise UserError(f"there is no engine {engine!r}; there are {', '.join(CHOICES)}")
    if engine != "auto" and (absent := missing(engine)):
        verb = "is" if len(absent) == 1 else "are"
        raise UserError(
            f"the engine {engine} wants {' and '.join(absent)}, which {verb} not installed: "
            f'pip install "reslab[{engine}]"'
        )


class Inference:
    """What `reslab.inference` gives: call it with a batch, or let `predict` cut batches.

    Images are as the model takes them, and the answers arrays in the structure of its outputs.
    `engine` is the name of what runs: "openvino", "onnxruntime", "torch", "jax" or "tensorflow";
    after a comparison, of what ran last. `seconds` has the times of the comparisons: for each
    shape, the least that each engine took for a batch.
    """

    def __init__(self, plan: Plan, engine: str, compare: bool) -> None:
        self._plan = plan
        self._engines = _candidates(plan, engine, compare)
        self._chosen: dict[tuple[int, ...], Engine] = {}
        self.engine = self._engines[0].name
        self.seconds: dict[tuple[int, ...], dict[str, float]] = {}

    def __call__(self, images: Any) -> Any:
        """One batch. Raises UserError for images that the model does not take."""
        x = self._checked(images)
        if len(self._engines) > 1 and x.shape not in self._chosen:
            self._chosen[x.shape] = self._fastest(x)
        engine = self._chosen.get(x.shape, self._engines[0])
        self.engine = engine.name
        return engine(x)

    def predict(self, images: Any, batch_size: int = 32) -> Any:
        """Any number of images, in batches of one size. Raises UserError as a call does.

        There are as few batches as the size allows, all alike: the last begins where it must, and
        what it has twice is dropped.
        """
        x = self._checked(images)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size is a whole number from 1, not {batch_size!r}")
        batches = -(-len(x) // batch_size)
        size = -(-len(x) // batches)
        parts = []
        for i in range(batches):
            start = min(i * size, len(x) - size)
            new = i * size - start
            parts.append(tree.map_structure(lambda y, new=new: y[new:], self(x[start:][:size])))
        return tree.map_structure(lambda *ys: np.concatenate(ys), *parts)

    def _checked(self, images: Any) -> np.ndarray:
        x = np.ascontiguousarray(images, "float32")
        inputs = getattr(self._plan.model, "inputs", None) or []
        wanted = tuple(inputs[0].shape) if inputs else x.shape  # not said by code of its own
        fits = x.ndim == len(wanted) and all(
            n in (None, m) for n, m in zip(wanted[1:], x.shape[1:], strict=True)
        )
        if not fits:
            shape = ", ".join("any" if n is None else str(n) for n in wanted[1:])
            raise UserError(f"the model takes images (n, {shape}), not an array of {x.shape}")
        if not len(x):
            raise UserError("no images were given")
        return x

    def _fastest(self, x: np.ndarray) -> Engine:
        """In turns, so that what slows the machine down slows all of them down."""
        least: dict[int, float] = {}
        racing = list(enumerate(self._engines))
        for _, engine in racing:
            engine(x)  # compiles, and warms up
        start = time.perf_counter()
        while True:
            for i, engine in racing:
                begun = time.perf_counter()
                engine(x)
                took = time.perf_counter() - begun
                least[i] = min(took, least.get(i, took))
            best = min(least.values())
            racing = [(i, engine) for i, engine in racing if least[i] < 1.5 * best]
            if len(racing) == 1 or time.perf_counter() - start > SPENT:
                break
        self.seconds[x.shape] = {self._engines[i].name: took for i, took in least.items()}
        chosen = self._engines[min(least, key=lambda i: least[i])]
        log.info("batches of %s run on %s: %s", x.shape, chosen.name, self.seconds[x.shape])
        return chosen


def _candidates(plan: Plan, engine: str, compare: bool) -> list[Engine]:
    """The engines to choose from, made; the preferred one first. Raises UserError."""
    reason = unsupported(plan, "graph") if engine != "backend" else ""
    if engine == "auto":
        there = [name for name in ENGINES if not missing(name)]
        if machine(keras.backend.backend())["gpu"]:
            there = ["backend"]
        elif reason:
            if there != ["backend"]:
                log.warning("left to %s itself: %s", keras.backend.backend(), reason)
            there = ["backend"]
        return [ENGINES[name](plan) for name in (there if compare else there[:1])]
    if reason:
        raise UserError(f"{engine} does not run {reason}; the engine 'backend' does")
    return [ENGINES[engine](plan)]


__all__ = ["CHOICES", "NEEDS", "Inference", "check", "inference"]
