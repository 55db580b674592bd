"""`export`: a trained model as a file for another program, compared before it exists."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reslab import __version__
from reslab.core.errors import UserError
from reslab.core.files import write_json, writing
from reslab.data.sources import web
from reslab.engines.exported import CARD
from reslab.formats import base, comparison, exportable, whole
from reslab.formats.base import Format
from reslab.formats.exportable import Exportable
from reslab.runs.run import Run


def export(
    model: str | os.PathLike[str] | Run,
    format: str = "onnx",
    out: str | os.PathLike[str] | None = None,
    weights: str | Path | None = None,
    fixed_size: bool = False,
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
    insecure: bool = False,
) -> dict[str, Any]:
    """Export a trained model to a file that needs neither reslab nor Keras.

    The file takes decoded pictures of any size, uint8 (n, height, width, channels) in RGB or grey,
    and gives probabilities, float32 (n, classes). Resizing, cropping and normalisation are inside.
    The names of the classes and the card of the run are in its metadata, as JSON.

    The file is opened by the runtime of its format and compared with Keras before it is moved to
    its place. A record of the comparison is written beside it (`NAME.json`).

    Args:
        model: A run, the path of its folder, or a model file that reslab wrote. With `weights`, the
            name of a network.
        format: "onnx" or "openvino".
        out: The file to write. None: `model` with the suffix of the format in the folder of the
            run, or the name of the model file or network in the current folder.
        weights: Published weights or a weights file, for the named network.
        fixed_size: Leave resizing and cropping out: the file takes images of the size of the model,
            as batch servers need it.
        scheme: The library whose names `weights` has, as in `reslab.create`; `strict` and `ema`
            likewise.
        insecure: Accept downloads without TLS, with an invalid certificate, or without a known
            checksum. A wrong checksum is refused in any case.

    Returns:
        The record: `file`, `bytes`, `seconds`, and the largest `difference` from Keras in
        `probabilities` (relative to the largest) and in `pixels` of the resized pictures (of 255).

    Raises:
        UserError: There is no trained model, a package is not installed, the model has a layer that
            the format has not, the file cannot be written, or it does not answer as Keras does.
    """
    start = time.perf_counter()
    kind = base.by_name(format)
    kind.require()
    path = Path(out) if out is not None else _default(model, weights, kind)
    if path.suffix != kind.suffix:
        raise UserError(f"{path}: the name of a file of the format {format} ends in {kind.suffix}")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}")
    with web.insecure(insecure):
        given = exportable.of(model, weights, scheme, strict, ema)
    with writing(path, "nothing was exported"):
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=path.parent))
        try:
            difference = _written(given, kind, folder / path.name, fixed_size)
            parts = sorted(folder.glob(f"{path.stem}.*"), key=lambda part: part.suffix != ".bin")
            record = {
                "file": str(path),
                "format": format,
                "bytes": sum(part.stat().st_size for part in parts),
                "fixed_size": fixed_size,
                "difference": asdict(difference),
                "compared_on": given.examples_are,
                "seconds": round(time.perf_counter() - start, 2),
                "reslab": __version__,
            }
            for part in parts:  # the file that names the others last
                os.replace(part, path.parent / part.name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    write_json(path.with_name(f"{path.name}.json"), record)
    return record


def _written(
    given: Exportable, kind: Format, path: Path, fixed_size: bool
) -> comparison.Difference:
    """Write the file, and compare it with Keras."""
    graph = whole.graph(given, fixed_size)
    card = {
        **given.card,
        "any_size": not fixed_size,
        "exported_by": f"reslab {__version__}",
    }
    kind.write(graph, {CARD: json.dumps(card, ensure_ascii=False)}, path)
    view = None
    if not fixed_size:
        part = path.parent / "view" / f"view{kind.suffix}"
        part.parent.mkdir()
        kind.write(whole.view(given), {}, part)
        view = kind.open(part)
    return comparison.compare(given, kind.open(path), view)


def _default(model: Any, weights: Any, kind: Format) -> Path:
    if weights is not None:
        return Path(f"{model}{kind.suffix}")
    path = model.path if isinstance(model, Run) else Path(model)
    return path / f"model{kind.suffix}" if path.is_dir() else path.with_suffix(kind.suffix)
