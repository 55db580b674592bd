"""A file format as a value, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from reslab.core.errors import UserError, unknown
from reslab.engines import exported
from reslab.engines.exported import Exported
from reslab.engines.graph import Graph
from reslab.engines.onnx_proto import proto


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        name: Its name on the command line.
        suffix: Of the file that is opened.
        packages: The packages that write and open it; `extra` installs them.
        write: Writes a graph with metadata to a path. It may write other files beside it.
        open: Reads the file with the format's own runtime.
    """

    name: str
    suffix: str
    packages: tuple[str, ...]
    extra: str
    write: Callable[[Graph, Mapping[str, str], Path], None]
    open: Callable[[Path], Exported]

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

    model = proto(graph)
    helper.set_model_props(model, dict(metadata))
    path.write_bytes(model.SerializeToString())


def _openvino(graph: Graph, metadata: Mapping[str, str], path: Path) -> None:
    exported.write_openvino(proto(graph).SerializeToString(), metadata, path)


_ALL = (
    Format("onnx", ".onnx", ("onnx", "onnxruntime"), "onnxruntime", _onnx, exported.onnxruntime),
    Format("openvino", ".xml", ("onnx", "openvino"), "openvino", _openvino, exported.openvino),
)
FORMATS = {format.name: format for format in _ALL}
