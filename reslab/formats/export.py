"""`export`: a trained model as a file for another program, compared before it exists."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reslab import __version__
from reslab.core.errors import UserError
from reslab.core.files import write_json, writing
from reslab.data.sources import hub, web
from reslab.engines.exported import Exported
from reslab.formats import base, comparison, exportable, placing
from reslab.formats.base import Format
from reslab.formats.comparison import Difference
from reslab.formats.content import Content, Form
from reslab.formats.measure import Measurement, check_agreement
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
    maps: bool = False,
    int8: bool = False,
    data: Any = None,
    temperature: bool = False,
) -> dict[str, Any]:
    """Export a trained model to a file that needs neither reslab nor Keras.

    The file takes decoded pictures of any size, uint8 (n, height, width, channels) in RGB or grey,
    and gives probabilities, float32 (n, classes). Resizing, cropping and normalisation are inside.
    The names of the classes and the card of the run are in its metadata, as JSON.

    The file is opened by the runtime of its format and compared with Keras before it is moved to
    its place. A record of the comparison is written beside it (`NAME.json`).

    Args:
        model: A run, the path of its folder, a model file that reslab wrote, or "hf://USER/NAME".
            With `weights`, the name of a network.
        format: "onnx", "openvino", "saved_model", "litert", "hub" (a repository of the Hugging Face
            hub, as a folder), "triton" (a model repository for Triton, OpenVINO Model Server and
            KServe, as a folder), or "page": one HTML file that runs the model in a browser, without
            a server or a network, and shows the class activation maps.
        out: The file to write. None: `model` with the suffix of the format in the folder of the
            run, or the name of the model file or network in the current folder.
        weights: Published weights or a weights file, for the named network.
        fixed_size: Leave resizing and cropping out: the file takes images of the size of the model,
            as batch servers need it.
        scheme: The library whose names `weights` has, as in `reslab.create`; `strict` and `ema`
            likewise.
        insecure: Accept downloads without TLS, with an invalid certificate, or without a known
            checksum. A wrong checksum is refused in any case.
        maps: Add an output `maps`, the class activation maps (Zhou et al. 2016): float32 (n, rows,
            columns, classes) over the part of the picture that the network sees. Their mean over
            rows and columns are the logits. They exist for networks that end in global average
            pooling and one dense layer.
        int8: Weights and activations in eight bits: about a quarter of the size. Up to 512 images
            calibrate the scales. The error before and after is measured on up to 5,000 images,
            these among them. Not for SavedModel and LiteRT.
        data: Images for the comparison, the calibration and the error: a source as in
            `reslab.data.load` with the classes of the model; for published weights a folder of
            pictures. None: the validation images of the run.
        temperature: Put the temperature of the run's evaluation inside: the probabilities are
            softmax(logits / T) (Guo et al. 2017), whose confidence fits better. The order of the
            classes does not change.

    Returns:
        The record: `file`, `bytes`, `seconds`, and the largest `difference` from Keras in
        `probabilities` and `maps` (relative to the largest) and in `pixels` of the resized pictures
        (of 255). With `int8` also `int8`: the number of `images`, `agreement` with Keras, and the
        `error` of `keras` and of the `file`, with 95 % Wilson intervals.

    Raises:
        UserError: There is no trained model, a package is not installed, the format does not have a
            layer of the model, the file cannot be written, or it does not answer as Keras does.
    """
    start = time.perf_counter()
    kind = base.by_name(format)
    form = Form(fixed_size or kind.open_view is None, maps, int8)
    kind.check(form)
    path = Path(out) if out is not None else _default(model, weights, kind)
    if path.suffix != kind.suffix:
        ending = f"ends in {kind.suffix}" if kind.suffix else "of a folder has no suffix"
        raise UserError(f"{path}: the name of the format {format} {ending}")
    placing.check(path, folder=not kind.suffix)
    with web.insecure(insecure):
        source = exportable.of(model, weights, scheme, strict, ema, data, temperature)
    content = Content(source, form)
    with writing(path, "nothing was exported"), placing.workspace(path) as folder:
        temp = folder / path.name
        opened, difference = written(content, kind, temp)
        measured = Measurement(source).of(opened) if int8 else None
        if measured:
            check_agreement(measured)
        record = {
            "file": str(path),
            "format": format,
            "bytes": sum(part.stat().st_size for part in placing.parts(temp)),
            **asdict(form),
            "temperature": source.card.get("temperature"),
            "difference": asdict(difference),
            "compared_on": source.sample.text,
            **({"int8": measured} if measured else {}),
            "seconds": round(time.perf_counter() - start, 2),
            "reslab": __version__,
        }
        placing.move(temp, path)
    write_json(placing.record_of(path), record)
    return record


def written(content: Content, kind: Format, path: Path) -> tuple[Exported, Difference]:
    """Write a file, open it again, and compare it with Keras.

    Raises UserError if it answers differently.
    """
    kind.write(content, path)
    view = None
    if kind.open_view is not None and not content.form.fixed_size:
        view = kind.open_view(content, path)
    opened = kind.open(path)
    exact = not content.form.int8
    return opened, comparison.compare(content.source, opened, view, exact)


def _default(model: Any, weights: Any, kind: Format) -> Path:
    ending = kind.suffix or f"-{kind.name}"
    if weights is not None:
        return Path(f"{model}{ending}")
    if hub.is_address(model):
        return Path(f"{hub.parse(model).repository.partition('/')[2]}{ending}")
    path = model.path if isinstance(model, Run) else Path(model)
    return path / f"model{ending}" if path.is_dir() else path.with_name(f"{path.stem}{ending}")
