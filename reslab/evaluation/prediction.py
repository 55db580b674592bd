"""Predictions for images, from a run, a model file or published weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE
from reslab.data import discovery
from reslab.data import images as pictures
from reslab.data.discovery import Kinds
from reslab.data.sources import web
from reslab.evaluation.inputs import Input, inputs
from reslab.evaluation.tasks.registry import task, task_of
from reslab.runs.run import Run

if TYPE_CHECKING:
    from reslab.evaluation.tasks.base import Task

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
) -> list[dict[str, Any]]:
    """Predict the classes of images.

    Args:
        model: A run, the path of its folder, or a model file that reslab wrote or exported. With
            `weights`, the name of a network.
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

    Returns:
        For each image `{"file": path, "predictions": [{"class": name, "probability": p}, ...]}`
        with the most probable class first and p from 0 to 1. The file of an image without a path is
        "image 0" and so on. Several labels have their "threshold" too.

    Raises:
        UserError: The model or an image cannot be read, or the engine is not installed.
    """
    from reslab.engines import exported, inference

    inference.check_engine(engine)
    path = None
    if weights is not None:
        zoo.network(str(model))
    else:
        path = model.trained_model() if isinstance(model, Run) else _model_path(Path(model))
    passed: Kinds = discovery.Kinds()
    with web.insecure(insecure):
        listed = inputs(images, passed)
    given = _readable(listed, skip_bad, note)
    if text := discovery.sentence(passed):
        note(text)
    if len(given) < len(listed) or passed:
        count = len(listed) + sum(n for kind, n in passed.items() if "folder" not in kind)
        note(f"predicted {len(given):,} of {count:,} files")
    how = engine, len(given) >= MANY
    with web.insecure(insecure):
        if path is None:
            kind, card, outputs = _pretrained(str(model), weights or "", scheme, strict, ema, *how)
        elif path.suffix.lower() in exported.RUNTIMES:
            kind, card, outputs = _exported(path, engine)
        else:
            kind, card, outputs = _whole(path, *how)
    results: list[dict[str, Any]] = []
    for start in range(0, len(given), BATCH):
        part = given[start : start + BATCH]
        for image, output in zip(part, outputs(part), strict=True):
            if not np.isfinite(output).all():
                raise UserError(
                    f"the model gives NaN or infinity for {image.name}; train with a lower rate"
                )
            predictions = kind.predictions(output, card, top)
            results.append({"file": image.name, "predictions": predictions})
    return results


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


Card = Mapping[str, Any]
Outputs = Callable[[Sequence[Input]], np.ndarray]  # one row for each image


def _exported(path: Path, engine: str) -> tuple[Task, Card, Outputs]:
    """A file of `reslab export`, on the runtime of its format."""
    from reslab.engines import exported
    from reslab.models.preprocess import Preprocess

    runtime = exported.RUNTIMES[path.suffix.lower()]
    if engine not in ("auto", runtime):
        raise UserError(f"{path} runs on {runtime}: leave --engine out")
    file = exported.open_file(path)
    card = file.card
    if file.fixed_size and "view" not in card:
        raise UserError(f"{path} takes resized images: export it without --fixed-size")
    height, width, channels = card["image_shape"]
    preprocess = Preprocess.of_card({"view": None, **card})

    def whole(image: Input) -> np.ndarray:
        size = pictures.needed((height, width), None)
        picture = pictures.open_picture(image.open(), size, preprocess.scale)
        return file.probabilities(pictures.to_array(picture, channels)[None])[0]

    def outputs(part: Sequence[Input]) -> np.ndarray:
        if file.fixed_size:
            return file.probabilities(preprocess([image.content for image in part]))
        return np.stack([whole(image) for image in part])

    return task_of(card), card, outputs


def _whole(path: Path, engine: str, compare: bool) -> tuple[Task, Card, Outputs]:
    from reslab.engines import inference
    from reslab.models import saved
    from reslab.models.preprocess import Preprocess

    model, card = saved.load_with_card(path)
    run = inference.inference(model, engine, compare)
    preprocess = Preprocess.of_card(card)

    def outputs(part: Sequence[Input]) -> np.ndarray:
        return np.asarray(run(preprocess([image.content for image in part])), "float32")

    return task_of(card), card, outputs


def _pretrained(
    network: str,
    weights: str | Path,
    scheme: str,
    strict: bool,
    ema: bool,
    engine: str,
    compare: bool,
) -> tuple[Task, Card, Outputs]:
    from reslab.evaluation.classifier import Classifier

    classifier = Classifier(network, weights, engine, compare, scheme, strict, ema)

    def outputs(part: Sequence[Input]) -> np.ndarray:
        return classifier([image.open() for image in part])

    return task(), {"classes": classifier.classes}, outputs


def _model_path(path: Path) -> Path:
    if (path / RUN_FILE).exists():
        return Run.open(path).trained_model()
    if not path.exists():
        raise UserError(f"there is no run and no model file at {path}")
    if path.is_dir():
        raise UserError(f"{path} is not a run: there is no run.json in it")
    return path
