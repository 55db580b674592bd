"""Predictions for images, from a run, a model file or published weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.data import discovery
from reslab.data.discovery import Kinds
from reslab.data.formats import BadImage
from reslab.data.sources import web
from reslab.evaluation.inputs import Input, inputs
from reslab.runs.run import Run, trained_file

if TYPE_CHECKING:
    from reslab.evaluation.heatmaps import Heatmaps
    from reslab.evaluation.predictor import Predictor

log = logging.getLogger("reslab.prediction")
BATCH = 32
MANY = 8 * BATCH  # from this number of images on, it pays to time the engines


def predict(
    model: str | Path | Run,
    images: Any,
    top: int | None = None,
    weights: str | Path | None = None,
    engine: str = "auto",
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
    skip_bad: bool = False,
    insecure: bool = False,
    note: Callable[[str], None] = log.info,
    heatmap: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Predict the classes of images.

    Args:
        model: A run, the path of its folder, a model file that reslab wrote or exported, or
            "hf://USER/NAME" on the Hugging Face hub. With `weights`, the name of a network.
        images: One image or several: paths of files or folders, addresses (https, at most
            64 MiB), encoded files as bytes or as open binary files, Pillow images, or arrays
            (h, w), (h, w, c) or (n, h, w, c) in 0..255, or floats in 0..1. A data set (PyTorch's
            map-style, Keras's `PyDataset`) and a pair (images, labels) give their images.
        top: The number of classes to return for each image. None: 3; for a model of several labels
            all labels above their thresholds.
        weights: Published weights ("timm/resnet50.a1_in1k") or a weights file, for the named
            network.
        engine: What runs the network, as in `reslab.inference`: "auto", "openvino", "onnxruntime"
            or "backend".
        scheme: The library whose names `weights` has, as in `reslab.weights.load`; `strict` and
            `ema` likewise.
        skip_bad: Skip images that cannot be read, instead of an error.
        insecure: Accept downloads without TLS, with an invalid certificate, or without a known
            checksum. A wrong checksum is refused in any case.
        note: Gets lines about files that were skipped or passed over. By default they are logged.
        heatmap: A folder for a picture of each image, `NAME-heatmap.jpg`, with the map of the most
            probable class over it: where the model sees the class. It is the class activation map
            (Zhou et al. 2016) for networks that end in global average pooling and one dense layer,
            and Grad-CAM (Selvaraju et al. 2017) for others. Files of `reslab export` need --maps.

    Returns:
        For each image `{"file": path, "predictions": [{"class": name, "probability": p}, ...]}`
        with the most probable class first and p from 0 to 1. The file of an image without a path is
        "image 0" and so on. Several labels have their "threshold" too. With `heatmap` there is
        the path of the picture, "heatmap".

    Raises:
        UserError: The model or an image cannot be read, or the engine is not installed.
    """
    from reslab.engines import inference, opening
    from reslab.evaluation.predictor import open_predictor

    inference.check_engine(engine)
    if weights is None:
        with web.insecure(insecure):
            model = trained_file(model, opening.kind_of)  # before the images are read
    else:
        zoo.network(str(model))
    passed: Kinds = discovery.Kinds()
    with web.insecure(insecure):
        listed = inputs(images, passed)
    given = _readable(listed, skip_bad, note)
    if text := discovery.sentence(passed):
        note(text)
    if len(given) < len(listed) or passed:
        count = len(listed) + sum(n for kind, n in passed.items() if "folder" not in kind)
        note(f"predicted {len(given):,} of {count:,} files")
    prepare = partial(inference.inference, engine=engine, compare=len(given) >= MANY)
    with web.insecure(insecure):
        predictor = open_predictor(model, weights, prepare, engine, scheme, strict, ema)
    heatmaps = None
    if heatmap is not None:
        from reslab.evaluation.heatmaps import Heatmaps

        heatmaps = Heatmaps(heatmap, predictor)
    return list(_results(given, predictor, heatmaps, top))


def _results(
    given: Sequence[Input], predictor: Predictor, heatmaps: Heatmaps | None, top: int | None
) -> Iterator[dict[str, Any]]:
    # whole pictures have several sizes, and may be large
    step = 1 if predictor.any_size else BATCH
    for start in range(0, len(given), step):
        part = given[start : start + step]
        pixels = [_read(image, predictor.read) for image in part]
        outputs = predictor.run(pixels)
        for image, output in zip(part, outputs, strict=True):
            if not np.isfinite(output).all():
                raise UserError(
                    f"the model gives NaN or infinity for {image.name}; train with a lower rate"
                )
        paths = heatmaps.write(part, pixels, outputs) if heatmaps else [None] * len(part)
        for image, output, path in zip(part, outputs, paths, strict=True):
            predictions = predictor.task.predictions(output, predictor.card, top)
            result = {"file": image.name, "predictions": predictions}
            yield result | ({"heatmap": path} if path else {})


def _read(image: Input, read: Callable[[Any], np.ndarray]) -> np.ndarray:
    try:
        return read(image.open())
    except BadImage as bad:
        raise UserError(f"{image.name} cannot be read: {bad}") from None


def _readable(images: Sequence[Input], skip_bad: bool, note: Callable[[str], None]) -> list[Input]:
    """The images that can be read; raises UserError for others, unless they are skipped."""
    readable = []
    for image in images:
        try:
            image.check()
            readable.append(image)
        except UserError as error:
            if not skip_bad:
                rest = "; --skip-bad skips such files" if len(images) > 1 else ""
                raise UserError(f"{error}{rest}") from None
            note(f"skipped: {error}")
    if not readable:
        raise UserError(f"none of the {len(images):,} images can be read")
    return readable
