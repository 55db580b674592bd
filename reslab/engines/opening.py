"""Exported files, opened by the runtime of their format."""

from __future__ import annotations

import importlib
import threading
import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import UserError, one_line
from reslab.core.paths import regular
from reslab.engines import page_file
from reslab.engines.exported import CARD, Exported, Run
from reslab.engines.runtimes import onnxruntime_session, openvino_core, openvino_settings

TRITON = "*/config.pbtxt"  # in a model repository
VIEW = "view"  # the tensor between the view and the network
CARD_FILE = f"{CARD}.json"  # in formats that hold files
COMPILED = 8  # networks of one file: for any size, and for batches of 1, 2, 4, ..., 32 and 128


def onnxruntime(path: Path) -> Exported:
    """Open an ONNX file by ONNX Runtime. Raises UserError for a file that it cannot read."""
    return _onnxruntime(str(regular(path)), path)


def page(path: Path) -> Exported:
    """Open the model in a page by ONNX Runtime. Raises UserError if it cannot be read."""
    return _onnxruntime(page_file.model(path), path)


def hub_folder(path: Path) -> Exported:
    """Open the ONNX file in a repository of the Hugging Face hub."""
    return onnxruntime(path / "model.onnx")


def triton_folder(path: Path) -> Exported:
    """Open the model of a model repository by ONNX Runtime, as Triton runs it."""
    (config,) = path.glob(TRITON)
    return onnxruntime(config.parent / "1" / "model.onnx")


def onnx_bytes(content: bytes, path: Path) -> Exported:
    """Open an ONNX file in memory, which belongs to `path`."""
    return _onnxruntime(content, path)


def openvino_bytes(content: bytes, path: Path) -> Exported:
    """Open an ONNX file in memory, which belongs to `path`, by OpenVINO."""
    return Exported(OpenVINORun(openvino_core().read_model(content)), {}, path, "openvino")


def _onnxruntime(content: str | bytes, path: Path) -> Exported:
    session = _session(content, path)

    def network() -> Run:
        return _run(_session(_behind_view(content, opened.card["image_shape"]), path))

    metadata = session.get_modelmeta().custom_metadata_map
    maps = _run(session, 1) if len(session.get_outputs()) > 1 else None
    opened = Exported(_run(session), metadata, path, "onnxruntime", maps, network)
    return opened


def _session(content: str | bytes, path: Path) -> Any:
    try:
        return onnxruntime_session(content)
    except Exception as error:  # onnxruntime has classes of its own
        raise UserError(f"{path} cannot be opened by ONNX Runtime: {one_line(error)}") from None


def _run(session: Any, number: int = 0) -> Run:
    """The output with this number."""
    (taken,) = session.get_inputs()
    kind = "uint8" if taken.type == "tensor(uint8)" else "float32"

    def run(pictures: np.ndarray) -> np.ndarray:
        return np.asarray(
            session.run(None, {taken.name: pictures.astype(kind, copy=False)})[number]
        )

    return run


def _behind_view(content: str | bytes, shape: list[int]) -> bytes:
    """The ONNX model without its first part, which ends in the tensor `view`."""
    onnx = importlib.import_module("onnx")
    load = onnx.load if isinstance(content, str) else onnx.load_from_string
    model = load(content)
    graph = model.graph
    nodes = [node for node in graph.node if not _in_view(node.output[0])]
    constants = [constant for constant in graph.initializer if not _in_view(constant.name)]
    taken = onnx.helper.make_tensor_value_info(VIEW, onnx.TensorProto.FLOAT, ["n", *shape])
    part = onnx.helper.make_graph(nodes, graph.name, [taken], graph.output, constants)
    cut = onnx.helper.make_model(
        part, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    return bytes(cut.SerializeToString())


def _in_view(name: str) -> bool:
    return name == VIEW or name.startswith(f"{VIEW}/")


def openvino(path: Path) -> Exported:
    """Open an OpenVINO IR by OpenVINO. Raises UserError for a file that it cannot read."""
    core = openvino_core()
    try:
        model = core.read_model(str(regular(path)))
        run = OpenVINORun(model)
    except Exception as error:
        raise UserError(f"{path} cannot be opened by OpenVINO: {one_line(error)}") from None
    metadata = {}
    if model.has_rt_info(["model_info", CARD]):
        metadata[CARD] = str(model.get_rt_info(["model_info", CARD]).value)

    def network() -> Run:
        whole = core.read_model(str(path))
        (last,) = (op for op in whole.get_ops() if op.get_friendly_name() == VIEW)
        ov = importlib.import_module("openvino")
        taken = ov.opset8.parameter(last.output(0).partial_shape, np.float32, name="images")
        for target in last.output(0).get_target_inputs():
            target.replace_source_output(taken.output(0))
        return OpenVINORun(ov.Model(whole.get_results(), [taken]))

    maps = partial(run, number=1) if len(model.outputs) > 1 else None
    return Exported(run, metadata, path, "openvino", maps, network)


class OpenVINORun:
    """Runs a model of OpenVINO in float32, from several threads at once.

    If only the batch size is free, the model is compiled for each power of two, which is faster
    than for any size. Other sizes run on the network for any: none waits for a compilation.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        shape = model.inputs[0].get_partial_shape()
        self.sizes_are_fixed = all(shape[i].is_static for i in range(1, len(shape)))
        self.kind = model.inputs[0].get_element_type().to_dtype()
        self.compiled = lru_cache(COMPILED)(self._compile)
        self.compiled(())
        self.lock = threading.Lock()  # the next call overwrites the outputs

    def __call__(self, pictures: np.ndarray, number: int = 0) -> np.ndarray:
        size = len(pictures)
        own = self.sizes_are_fixed and size & (size - 1) == 0
        with self.lock:
            network = self.compiled(pictures.shape if own else ())
            return np.asarray(network(pictures.astype(self.kind, copy=False))[number]).copy()

    def _compile(self, shape: tuple[int, ...]) -> Any:
        """The network for pictures of a shape; () is any."""
        model = self.model
        if shape:
            model = model.clone()
            model.reshape(list(shape))
        settings = openvino_settings() | {"PERFORMANCE_HINT": "LATENCY"}
        return openvino_core().compile_model(model, "CPU", settings)


def write_openvino(model: bytes, metadata: Mapping[str, str], path: Path) -> None:
    """Write an ONNX model as an OpenVINO IR: `path` (.xml), and a .bin beside it."""
    network = openvino_core().read_model(model)
    for name, value in metadata.items():
        network.set_rt_info(value, ["model_info", name])
    importlib.import_module("openvino").save_model(network, str(path), compress_to_fp16=False)


def saved_model(path: Path, part: str = "serving_default") -> Exported:
    """Open a SavedModel by TensorFlow: the whole, or another signature that takes pictures.

    Raises UserError for a folder that it cannot read.
    """
    tf = importlib.import_module("tensorflow")
    try:
        card = (path / "assets.extra" / CARD_FILE).read_text(encoding="utf-8")
        loaded = tf.saved_model.load(str(path))
        signatures = dict(loaded.signatures)
        whole = signatures[part]
    except Exception as error:
        raise UserError(f"{path} cannot be opened by TensorFlow: {one_line(error)}") from None

    def run_of(signature: Any, kind: str) -> Run:
        def run(pictures: np.ndarray) -> np.ndarray:
            (output,) = signature(images=tf.constant(pictures, kind)).values()
            return np.asarray(output)

        run.loaded = loaded  # type: ignore[attr-defined]  # it holds the variables
        return run

    def network() -> Run:
        return run_of(signatures["network"], "float32")

    return Exported(run_of(whole, "uint8"), {CARD: card}, path, "tensorflow", None, network)


def litert(path: Path) -> Exported:
    """Open a LiteRT file by LiteRT. Raises UserError for a file that it cannot read."""
    interpreter_module = importlib.import_module("ai_edge_litert.interpreter")
    try:
        with zipfile.ZipFile(regular(path)) as file:
            card = file.read(CARD_FILE).decode()
        interpreter = interpreter_module.Interpreter(str(path))
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    except Exception as error:
        raise UserError(f"{path} cannot be opened by LiteRT: {one_line(error)}") from None

    def run(pictures: np.ndarray) -> np.ndarray:
        if tuple(interpreter.get_input_details()[0]["shape"]) != pictures.shape:
            interpreter.resize_tensor_input(taken["index"], pictures.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], pictures.astype("uint8"))
        interpreter.invoke()
        return np.array(interpreter.get_tensor(given["index"]))

    return Exported(run, {CARD: card}, path, "ai_edge_litert")


KINDS: dict[str, tuple[Callable[[Path], Exported], str, str]] = {
    # by the suffix of a file, or by a file in a folder: what opens it, its package, and the extra
    ".onnx": (onnxruntime, "onnxruntime", "onnxruntime"),
    ".html": (page, "onnxruntime", "onnxruntime"),
    ".xml": (openvino, "openvino", "openvino"),
    ".tflite": (litert, "ai_edge_litert", "litert"),
    "saved_model.pb": (saved_model, "tensorflow", "tensorflow"),
    "config.json": (hub_folder, "onnxruntime", "onnxruntime"),
    TRITON: (triton_folder, "onnxruntime", "onnxruntime"),
}


def kind_of(path: Path) -> str:
    """The key of `KINDS` for an exported file or folder; "" for anything else."""
    if path.is_dir():
        return next((name for name in KINDS if name[0] != "." and any(path.glob(name))), "")
    suffix = path.suffix.lower()
    return suffix if suffix in KINDS else ""


def open_file(path: Path) -> Exported:
    """Open an exported file by the runtime of its format.

    Raises:
        UserError: It cannot be read, or its runtime is not installed.
    """
    opened_by, package, extra = KINDS[kind_of(path)]
    if find_spec(package) is None:
        raise UserError(f'{path} needs {package}: pip install "reslab[{extra}]"')
    return opened_by(path)
