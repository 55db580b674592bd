"""Exported files on the runtimes of their formats: uint8 pictures in, the first output out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
from msgspec import Meta

from reslab.core import records
from reslab.core.errors import UserError, one_line
from reslab.core.paths import regular
from reslab.engines.runtimes import openvino_core

CARD = "reslab"  # the key of the card in the metadata
RUNTIMES = {".onnx": "onnxruntime", ".xml": "openvino"}


class ExportCard(TypedDict):
    """What a file of reslab says of itself. It may have more."""

    classes: Annotated[list[str], Meta(min_length=1)]
    image_shape: Annotated[
        list[Annotated[int, Meta(gt=0, le=2**20)]], Meta(min_length=3, max_length=3)
    ]
    any_size: bool


@dataclass(frozen=True)
class Exported:
    """An exported file that is open.

    Attributes:
        run: Maps pictures, uint8 (n, height, width, channels), to the first output of the file.
        metadata: Texts in the file, by name.
        path: The file.
        maps: Maps such pictures to the class activation maps, (n, rows, columns, classes); None if
            the file has no such output.
    """

    run: Callable[[np.ndarray], np.ndarray]
    metadata: Mapping[str, str]
    path: Path
    maps: Callable[[np.ndarray], np.ndarray] | None = None

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """The first output. Raises UserError if the file cannot run on these pictures."""
        try:
            return self.run(pictures)
        except Exception as error:  # each runtime has classes of its own
            raise UserError(
                f"{self.path} does not run on pictures of {pictures.shape}: {one_line(error)}"
            ) from None

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """The output, checked: (n, classes). Raises UserError if it is anything else."""
        output, classes = self(pictures), len(self.card["classes"])
        if output.shape != (len(pictures), classes):
            raise UserError(
                f"{self.path} is damaged: it names {classes} classes and gives {output.shape} for "
                f"{len(pictures)} pictures"
            )
        return output

    @cached_property
    def card(self) -> dict[str, Any]:
        """The classes and the view. Raises UserError if reslab did not export the file."""
        if CARD not in self.metadata:
            raise UserError(f"{self.path} was not exported by reslab: it does not say its classes")
        try:
            card: dict[str, Any] = records.parse(self.metadata[CARD])
            records.check(card, ExportCard)
        except records.Damaged as error:
            raise UserError(f"{self.path} is damaged: its card: {error}") from None
        return card

    @property
    def fixed_size(self) -> bool:
        """Whether it takes images of the size of the model only."""
        return not self.card["any_size"]


def open_file(path: Path) -> Exported:
    """Open an exported file by the runtime of its format.

    Raises:
        UserError: It cannot be read, or its runtime is not installed.
    """
    engine = RUNTIMES[path.suffix.lower()]
    if find_spec(engine) is None:
        raise UserError(f'{path} needs {engine}: pip install "reslab[{engine}]"')
    return onnxruntime(path) if engine == "onnxruntime" else openvino(path)


def onnxruntime(path: Path) -> Exported:
    """Open an ONNX file by ONNX Runtime. Raises UserError for a file that it cannot read."""
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(regular(path)), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has classes of its own
        raise UserError(f"{path} cannot be opened by ONNX Runtime: {one_line(error)}") from None
    name = session.get_inputs()[0].name

    def output(number: int, pictures: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {name: pictures})[number])

    maps = partial(output, 1) if len(session.get_outputs()) > 1 else None
    return Exported(partial(output, 0), session.get_modelmeta().custom_metadata_map, path, maps)


def openvino(path: Path) -> Exported:
    """Open an OpenVINO IR by OpenVINO. Raises UserError for a file that it cannot read."""
    core = openvino_core()
    try:
        network = core.read_model(str(regular(path)))
        compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except Exception as error:
        raise UserError(f"{path} cannot be opened by OpenVINO: {one_line(error)}") from None
    metadata = {}
    if network.has_rt_info(["model_info", CARD]):
        metadata[CARD] = str(network.get_rt_info(["model_info", CARD]).value)

    def output(number: int, pictures: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(pictures)[number]).copy()

    maps = partial(output, 1) if len(compiled.outputs) > 1 else None
    return Exported(partial(output, 0), metadata, path, maps)


def write_openvino(model: bytes, metadata: Mapping[str, str], path: Path) -> None:
    """Write an ONNX model as an OpenVINO IR: `path` (.xml), and a .bin beside it."""
    network = openvino_core().read_model(model)
    for name, value in metadata.items():
        network.set_rt_info(value, ["model_info", name])
    importlib.import_module("openvino").save_model(network, str(path), compress_to_fp16=False)
