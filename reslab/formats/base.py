"""A file format as a value, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from reslab.core.errors import UserError, unknown
from reslab.engines import opening
from reslab.engines.exported import Exported
from reslab.formats import hub, page, tensorflow_files, triton
from reslab.formats.content import Content, Form


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        name: Its name on the command line.
        suffix: Of the file that is opened; "" for a folder.
        packages: The packages that write and open it; `extra` installs them.
        write: Writes the content to a path that does not exist. It may write other files beside it.
        open: Reads the file with the format's own runtime.
        open_view: Opens the view alone with the same runtime, after the content was written to a
            path. None: the format takes images of the size of the model only.
        from_onnx: Whether it is made from the ONNX file, and so has all of its forms.
    """

    name: str
    suffix: str
    packages: tuple[str, ...]
    extra: str
    write: Callable[[Content, Path], None]
    open: Callable[[Path], Exported]
    open_view: Callable[[Content, Path], Exported] | None
    from_onnx: bool = True

    def check(self, form: Form) -> None:
        """Raise UserError if the format does not have this form, or a package is missing."""
        if not self.from_onnx and (form.maps or form.int8):
            option = "--maps" if form.maps else "--int8"
            others = ", ".join(name for name, other in FORMATS.items() if other.from_onnx)
            raise UserError(f"the format {self.name} has no {option}: use one of {others}")
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


def _write_onnx(content: Content, path: Path) -> None:
    path.write_bytes(content.onnx)


def _onnx_view(content: Content, path: Path) -> Exported:
    return opening.onnx_bytes(content.view_onnx, path)


def _write_openvino(content: Content, path: Path) -> None:
    opening.write_openvino(content.onnx, content.metadata, path)


def _openvino_view(content: Content, path: Path) -> Exported:
    return opening.openvino_bytes(content.view_onnx, path)


def _saved_view(content: Content, path: Path) -> Exported:
    return opening.saved_model(path, "view")


_ALL = (
    Format(
        "onnx",
        ".onnx",
        ("onnx", "onnxruntime"),
        "onnxruntime",
        _write_onnx,
        opening.onnxruntime,
        _onnx_view,
    ),
    Format(
        "openvino",
        ".xml",
        ("onnx", "openvino"),
        "openvino",
        _write_openvino,
        opening.openvino,
        _openvino_view,
    ),
    Format(
        "saved_model",
        "",
        ("tensorflow",),
        "tensorflow",
        tensorflow_files.write_saved_model,
        opening.saved_model,
        _saved_view,
        from_onnx=False,
    ),
    Format(
        "litert",
        ".tflite",
        ("tensorflow", "ai_edge_litert"),
        "litert",
        tensorflow_files.write_litert,
        opening.litert,
        None,
        from_onnx=False,
    ),
    Format(
        "page",
        ".html",
        ("onnx", "onnxruntime"),
        "onnxruntime",
        page.write,
        opening.page,
        _onnx_view,
    ),
    Format(
        "hub",
        "",
        ("onnx", "onnxruntime"),
        "onnxruntime",
        hub.write_folder,
        opening.hub_folder,
        _onnx_view,
    ),
    Format(
        "triton",
        "",
        ("onnx", "onnxruntime"),
        "onnxruntime",
        triton.write_repository,
        opening.triton_folder,
        _onnx_view,
    ),
)
FORMATS = {format.name: format for format in _ALL}
