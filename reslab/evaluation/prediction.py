"""Predictions for image files, from a run, a model file or published weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab import zoo
from reslab.core.errors import UserError, written
from reslab.core.files import RUN_FILE
from reslab.data import images as pictures
from reslab.evaluation.tasks.registry import task, task_of
from reslab.runs.run import Run

if TYPE_CHECKING:
    from reslab.evaluation.tasks.base import Task

BATCH = 32
MANY = 8 * BATCH  # from this number of images on, it pays to time the engines


def files(names: str | Path | Iterable[str | Path]) -> list[Path]:
    """The images at these paths; a folder stands for all images in it and in its subfolders.

    Raises UserError for a path that does not exist, and for a folder without images.
    """
    images: list[Path] = []
    for name in [names] if isinstance(names, str | os.PathLike) else names:
        if not os.fspath(name):
            raise UserError("the name of an image is empty")
        path = Path(written(os.fspath(name)))
        if path.is_dir():
            inside = pictures.listed(path)
            if not inside and (others := pictures.unread(path)):
                raise UserError(f"{path} has {others}")
            if not inside:
                raise UserError(f"there are no images in {path}")
            images += inside
        elif path.exists():
            images.append(path)
        else:
            raise UserError(f"there is no image {path}")
    if not images:
        raise UserError("no images were given")
    return images


def predict(
    model: str | Path | Run,
    images: str | Path | Iterable[str | Path],
    top: int = 3,
    weights: str | Path | None = None,
    engine: str = "auto",
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
) -> list[dict[str, Any]]:
    """Predict the classes of image files.

    Args:
        model: A run, the path of its folder, or a model file that reslab wrote. With `weights`, the
            name of a network.
        images: Image files, or folders with images; one path or several.
        top: The number of classes to return for each image.
        weights: Published weights ("timm/resnet50.a1_in1k") or a weights file, for the named
            network.
        engine: What runs the network, as in `reslab.inference`: "auto", "openvino", "onnxruntime"
            or "backend".
        scheme: The library whose names `weights` has, as in `reslab.weights.load`; `strict` and
            `ema` likewise.

    Returns:
        For each image `{"file": path, "predictions": [{"class": name, "probability": p}, ...]}`
        with the most probable class first and p from 0 to 1.

    Raises:
        UserError: The model or an image cannot be read, or the engine is not installed.
    """
    from reslab.engines import inference

    inference.check_engine(engine)
    path = None
    if weights is not None:
        zoo.network(str(model))
    else:
        path = model.model_path if isinstance(model, Run) else _model_path(Path(model))
    paths = files(images)
    for image in paths:
        _check(image)
    how = engine, len(paths) >= MANY
    kind, classes, outputs = (
        _whole(path, *how)
        if path
        else _pretrained(str(model), weights or "", scheme, strict, ema, *how)
    )
    results: list[dict[str, Any]] = []
    for start in range(0, len(paths), BATCH):
        part = paths[start : start + BATCH]
        for image, output in zip(part, outputs(part), strict=True):
            predictions = kind.predictions(output, classes, top)
            results.append({"file": str(image), "predictions": predictions})
    return results


Outputs = Callable[[Sequence[Path]], np.ndarray]  # one row for each file


def _whole(path: Path, engine: str, compare: bool) -> tuple[Task, Sequence[str], Outputs]:
    from reslab.engines import inference
    from reslab.models import saved
    from reslab.models.preprocess import Preprocess

    model, card = saved.load_with_card(path)
    run = inference.inference(model, engine, compare)
    preprocess = Preprocess.of_card(card)

    def outputs(part: Sequence[Path]) -> np.ndarray:
        return np.asarray(run(preprocess(part)), "float32")

    return task_of(card), card["classes"], outputs


def _pretrained(
    network: str,
    weights: str | Path,
    scheme: str,
    strict: bool,
    ema: bool,
    engine: str,
    compare: bool,
) -> tuple[Task, Sequence[str], Outputs]:
    from reslab.evaluation.classifier import Classifier
    from reslab.weights.pretrained import create

    pretrained = create(
        network,
        data_format="channels_last",
        weights=weights,
        scheme=scheme,
        strict=strict,
        ema=ema,
    )
    classifier = Classifier(pretrained, weights, engine, compare)
    return task(), classifier.classes, classifier


def _model_path(path: Path) -> Path:
    if (path / RUN_FILE).exists():
        run = Run.open(path)
        if not run.model_path.exists():
            raise UserError(
                f"{path} has no model yet: finish it with `reslab train --resume {path}`"
            )
        return run.model_path
    if not path.exists():
        raise UserError(f"there is no run and no model file at {path}")
    if path.is_dir():
        raise UserError(f"{path} is not a run: there is no run.json in it")
    return path


def _check(image: Path) -> None:
    try:
        with warnings.catch_warnings():  # Pillow warns of damage before it raises an error
            warnings.simplefilter("ignore")
            pictures.check(image)
    except pictures.BadImage as error:
        raise UserError(f"{image} cannot be read: {error}") from None
