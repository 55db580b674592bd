"""The inference engines: OpenVINO, ONNX Runtime, and Keras's backend.

An engine is created from `ModelForms` and takes one batch per call: a list of
float32 arrays, one for each input of the model.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Any, Protocol

import keras
import numpy as np
from keras import tree

from reslab.acceleration.accelerate import accelerate
from reslab.core.errors import UserError
from reslab.engines.batches import ModelInputs
from reslab.engines.folding import fold
from reslab.engines.graph import Graph
from reslab.engines.lowering_rules import lower
from reslab.engines.program import Program, SymbolicTensor, Unsupported, flatten, symbolic_tensors
from reslab.engines.rebuild import rebuild
from reslab.models.finite import not_finite

MAX_COMPILED = 4  # compiled networks, one per input shape; each holds a copy of the weights


class ModelForms:
    """A model in the form that each engine takes, created on first use; the model is only read."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model

    @cached_property
    def inputs(self) -> ModelInputs:
        """The inputs of the model by name."""
        return ModelInputs(self.model)

    @cached_property
    def program(self) -> Program:
        """The calls of the model with batch norm folded.

        Raises Unsupported, or UserError if a folded weight is not finite.
        """
        program = fold(flatten(self.model))
        for call in program.calls:
            if name := not_finite(call.weights):
                raise UserError(
                    f"the weights of {self.model.name} are not usable: the {name} of {call} is not "
                    "finite once batch norm is folded into it (is a running variance negative?)"
                )
        return program

    @cached_property
    def graph(self) -> Graph:
        """The program as graph operations. Raises Unsupported."""
        return lower(self.program)

    @cached_property
    def onnx(self) -> bytes:
        """The graph as a serialised ONNX model. Raises Unsupported."""
        from reslab.engines.onnx_proto import proto

        return proto(self.graph).SerializeToString()

    def outputs(self, arrays: Mapping[str, np.ndarray]) -> Any:
        """The graph's outputs, given by name, in the structure of the model's outputs."""
        tensors = dict.fromkeys(symbolic_tensors(self.program.outputs))
        by_tensor = dict(zip(tensors, (arrays[name] for name in self.graph.outputs), strict=True))
        return tree.map_structure(
            lambda x: by_tensor[x] if isinstance(x, SymbolicTensor) else x, self.program.outputs
        )


class Engine(Protocol):
    """Maps a batch to arrays in the structure of the model's outputs."""

    name: str
    any_shape: bool  # whether another batch shape costs no compilation

    def __call__(self, batch: list[np.ndarray]) -> Any: ...


class OpenVINO:
    """OpenVINO in float32; its default is bfloat16 on processors that support it."""

    name = "openvino"
    any_shape = False

    def __init__(self, forms: ModelForms) -> None:
        self.forms, self.core = forms, openvino_core()
        self.settings = openvino_settings() | {"PERFORMANCE_HINT": "LATENCY"}
        self.most_compiled = MAX_COMPILED
        self.bytes = forms.onnx
        names = list(forms.graph.inputs)
        network = self.core.read_model(self.bytes)  # which lacks inputs that no output depends on
        self.taken = [names.index(n) for x in network.inputs for n in names if n in x.names]
        self.compiled: dict[tuple[tuple[int, ...], ...], Any] = {}
        self.lock = threading.Lock()  # the next call overwrites the outputs

    def __call__(self, batch: list[np.ndarray]) -> Any:
        with self.lock:
            return self._run(batch)

    def _run(self, batch: list[np.ndarray]) -> Any:
        shapes = tuple(x.shape for x in batch)
        network = self.compiled.pop(shapes, None) or self._compile(shapes)
        self.compiled[shapes] = network  # most recently used last
        while len(self.compiled) > self.most_compiled:
            del self.compiled[next(iter(self.compiled))]
        taken = [batch[i] for i in self.taken]
        outputs = network(taken, share_inputs=True, share_outputs=True)
        names = self.forms.graph.outputs  # OpenVINO keeps their order, but may rename them
        return self.forms.outputs({name: outputs[i].copy() for i, name in enumerate(names)})

    def _compile(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        """Compile for one batch shape: takes under a second, and runs faster than a dynamic one."""
        network = self.core.read_model(self.bytes)
        network.reshape({i: list(shapes[n]) for i, n in enumerate(self.taken)})
        return self.core.compile_model(network, "CPU", self.settings)


class OnnxRuntime:
    """ONNX Runtime on the CPU, in float32."""

    name = "onnxruntime"
    any_shape = True

    def __init__(self, forms: ModelForms) -> None:
        self.forms = forms
        self.session = onnxruntime_session(forms.onnx)

    def __call__(self, batch: list[np.ndarray]) -> Any:
        graph = self.forms.graph
        names = list(graph.outputs)
        outputs = self.session.run(names, dict(zip(graph.inputs, batch, strict=True)))
        return self.forms.outputs(dict(zip(names, outputs, strict=True)))


class Backend:
    """The folded model on Keras's backend, accelerated; unfolded if folding is not supported."""

    def __init__(self, forms: ModelForms) -> None:
        self.name = keras.backend.backend()
        self.any_shape = self.name == "torch"
        self.inputs = ModelInputs(forms.model)
        if not unsupported(forms, "program"):
            self.model = accelerate(rebuild(forms.program))
            self.inputs = ModelInputs(self.model)
        else:
            self.model = forms.model
        self.lock = threading.Lock()  # on JAX a call takes the variables out of the model

    def __call__(self, batch: list[np.ndarray]) -> Any:
        with self.lock:
            return tree.map_structure(
                np.asarray, self.model.predict_on_batch(self.inputs.pack(batch))
            )


ENGINES: dict[str, Any] = {
    "openvino": OpenVINO,
    "onnxruntime": OnnxRuntime,
    "backend": Backend,
}
REQUIRED_PACKAGES = {
    "openvino": ("openvino", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "backend": (),
}


def missing_packages(engine: str) -> list[str]:
    """The packages that an engine requires and that are not installed."""
    return [name for name in REQUIRED_PACKAGES[engine] if find_spec(name) is None]


def unsupported(forms: ModelForms, form: str) -> str:
    """Why the model has no `form` ("program" or "graph"); "" if it has."""
    try:
        getattr(forms, form)
    except Unsupported as reason:
        return str(reason)
    return ""


_threads: ContextVar[int] = ContextVar("threads", default=0)


@contextmanager
def threads_of_engines(number: int) -> Iterator[None]:
    """Engines that are made inside use so many threads, and do not spin while they wait for work.

    Otherwise they take all of the machine, which is fastest if nothing else runs.
    """
    token = _threads.set(number)
    try:
        yield
    finally:
        _threads.reset(token)


def onnxruntime_session(model: bytes | str) -> Any:
    """ONNX Runtime on the CPU for a model or the path of one."""
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors only: its warnings are about the machine
    if number := _threads.get():
        options.intra_op_num_threads = number
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, ["CPUExecutionProvider"])


def openvino_settings() -> dict[str, str]:
    """The settings with which OpenVINO compiles: float32, where its default may be bfloat16."""
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    if number := _threads.get():
        settings["INFERENCE_NUM_THREADS"] = str(number)
    return settings


@cache
def openvino_core() -> Any:
    """OpenVINO's Core, one for the process.

    Each Core gives the thread that compiles its own stack for signals and puts the one before back
    when it is deleted. With several Cores, that may be one that is freed already: the next Ctrl-C
    would end the process.
    """
    return _quiet_openvino().Core()


def _quiet_openvino() -> Any:
    """Import OpenVINO without its telemetry package, which reports each import to Intel."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    telemetry = "openvino_telemetry"
    before = sys.modules.get(telemetry)
    sys.modules[telemetry] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[telemetry]
        if before is not None:
            sys.modules[telemetry] = before
