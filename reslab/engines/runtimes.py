"""What can run a model: OpenVINO, ONNX Runtime, or Keras's backend itself.

An engine is made of a `Plan` and takes float32 images, a batch at a time.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Protocol

import keras
import numpy as np
from keras import tree

from reslab.acceleration.accelerate import accelerate
from reslab.engines.folding import fold
from reslab.engines.graph import Graph
from reslab.engines.lowering_rules import lower
from reslab.engines.program import Program, Unsupported, Value, flatten, values
from reslab.engines.rebuild import rebuild

KEPT = 4  # shapes for which a compiled network is kept; each has the weights once more


class Plan:
    """A model as each engine wants it, made when first asked for. The model is only read."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model

    @cached_property
    def program(self) -> Program:
        """Raises Unsupported."""
        return fold(flatten(self.model))

    @cached_property
    def graph(self) -> Graph:
        """Raises Unsupported."""
        return lower(self.program)

    @cached_property
    def onnx(self) -> bytes:
        """Raises Unsupported."""
        from reslab.engines.onnx_proto import proto

        return proto(self.graph).SerializeToString()

    def outputs(self, found: Mapping[str, np.ndarray]) -> Any:
        """The model's structure of outputs, from those of the graph by name."""
        order = dict.fromkeys(values(self.program.outputs))
        of = dict(zip(order, (found[name] for name in self.graph.outputs), strict=True))
        return tree.map_structure(
            lambda x: of[x] if isinstance(x, Value) else x, self.program.outputs
        )


class Engine(Protocol):
    """What a Plan's model makes of a batch: arrays in the structure of the model's outputs."""

    name: str

    def __call__(self, images: np.ndarray) -> Any: ...


class OpenVINO:
    """In float32: by itself OpenVINO takes bfloat16 where the processor has it."""

    name = "openvino"

    def __init__(self, plan: Plan) -> None:
        ov = _quiet_openvino()
        self.plan, self.core = plan, ov.Core()
        self.bytes = plan.onnx
        self.compiled: dict[tuple[int, ...], Any] = {}
        self.lock = threading.Lock()  # what it computed lies in memory that the next call reuses

    def __call__(self, images: np.ndarray) -> Any:
        with self.lock:
            return self._run(images)

    def _run(self, images: np.ndarray) -> Any:
        run = self.compiled.pop(images.shape, None) or self._compile(images.shape)
        self.compiled[images.shape] = run  # the latest last
        while len(self.compiled) > KEPT:
            del self.compiled[next(iter(self.compiled))]
        found = run(images, share_inputs=True, share_outputs=True)
        names = self.plan.graph.outputs  # whose order it keeps; their names it may change
        return self.plan.outputs({name: found[i].copy() for i, name in enumerate(names)})

    def _compile(self, shape: tuple[int, ...]) -> Any:
        """For one shape: it is faster than for open ones, and takes a fraction of a second."""
        network = self.core.read_model(self.bytes)
        network.reshape(list(shape))
        how = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        return self.core.compile_model(network, "CPU", how)


class OnnxRuntime:
    name = "onnxruntime"

    def __init__(self, plan: Plan) -> None:
        ort = importlib.import_module("onnxruntime")
        self.plan = plan
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors: what it warns of is the machine
        self.session = ort.InferenceSession(plan.onnx, options, ["CPUExecutionProvider"])

    def __call__(self, images: np.ndarray) -> Any:
        names = list(self.plan.graph.outputs)
        found = self.session.run(names, {self.plan.graph.input: images})
        return self.plan.outputs(dict(zip(names, found, strict=True)))


class Backend:
    """Keras with the folded model, accelerated; one that cannot be folded, it runs as it is."""

    def __init__(self, plan: Plan) -> None:
        self.name = keras.backend.backend()
        folds = not unsupported(plan, "program")
        self.model = accelerate(rebuild(plan.program)) if folds else plan.model

    def __call__(self, images: np.ndarray) -> Any:
        return tree.map_structure(np.asarray, self.model.predict_on_batch(images))


ENGINES: dict[str, Any] = {
    "openvino": OpenVINO,
    "onnxruntime": OnnxRuntime,
    "backend": Backend,
}
NEEDS = {"openvino": ("openvino", "onnx"), "onnxruntime": ("onnxruntime", "onnx"), "backend": ()}


def missing(engine: str) -> list[str]:
    """The packages that an engine wants and that are not there."""
    return [name for name in NEEDS[engine] if find_spec(name) is None]


def unsupported(plan: Plan, form: str) -> str:
    """What keeps the plan from taking this form, "program" or "graph"; nothing: ""."""
    try:
        getattr(plan, form)
    except Unsupported as reason:
        return str(reason)
    return ""


def _quiet_openvino() -> Any:
    """OpenVINO tells its makers over the network that it was imported, unless it finds nothing to
    tell it with."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    telling = "openvino_telemetry"
    before = sys.modules.get(telling)
    sys.modules[telling] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[telling]
        if before is not None:
            sys.modules[telling] = before
