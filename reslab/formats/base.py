"""A file format as a value, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from reslab.core.errors import UserError, unknown
from reslab.engines.graph import Graph

Run = Callable[[np.ndarray], np.ndarray]  # uint8 (n, height, width, channels) to the output


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        name: Its name on the command line.
        suffix: Of the file that is opened.
        summary: What opens it, in a few words.
        packages: The packages that write and open it; `extra` installs them.
        write: Writes a graph with metadata to a path. It may write other files beside it.
        open: Reads the file with the format's own runtime.
    """

    name: str
    suffix: str
    summary: str
    packages: tuple[str, ...]
    extra: str
    write: Callable[[Graph, Mapping[str, str], Path], None]
    open: Callable[[Path], Run]

    def require(self) -> None:
        """Raise UserError if a package is not installed."""
        missing = [name for name in self.packages if find_spec(name) is None]
        if missing:
            raise UserError(
                f"the format {self.name} needs {' and '.join(missing)}: "
                f'pip install "reslab[{self.extra}]"'
            )


def by_name(name: str) -> Format:
    """The format of this name. Raises UserError for an unknown one."""
    if name not in FORMATS:
        raise unknown("format", str(name), FORMATS)
    return FORMATS[name]


def _onnx(graph: Graph, metadata: Mapping[str, str], path: Path) -> None:
    from onnx import helper

    from reslab.engines.onnx_proto import proto

    model = proto(graph)
    helper.set_model_props(model, dict(metadata))
    path.write_bytes(model.SerializeToString())


def _onnxruntime(path: Path) -> Run:
    from reslab.engines.exported import onnxruntime

    return onnxruntime(path)


def _openvino(graph: Graph, metadata: Mapping[str, str], path: Path) -> None:
    from reslab.engines.exported import write_openvino
    from reslab.engines.onnx_proto import proto

    write_openvino(proto(graph).SerializeToString(), metadata, path)


def _open_openvino(path: Path) -> Run:
    from reslab.engines.exported import openvino

    return openvino(path)


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format(
            "onnx",
            ".onnx",
            "ONNX Runtime and most other runtimes",
            ("onnx", "onnxruntime"),
            "onnxruntime",
            _onnx,
            _onnxruntime,
        ),
        Format(
            "openvino",
            ".xml",
            "OpenVINO: the file and its .bin",
            ("onnx", "openvino"),
            "openvino",
            _openvino,
            _open_openvino,
        ),
    )
}
