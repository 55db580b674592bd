"""What a trained model sees in pictures: a run or a model file is all it takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reslab import zoo
from reslab.core.errors import UserError, written
from reslab.data import images as pictures
from reslab.runs.run import Run

BATCH = 32
MANY = 8 * BATCH  # from so many pictures on, it pays to time the engines


def files(names: str | Path | Iterable[str | Path]) -> list[Path]:
    """The pictures at these paths; a folder stands for every picture in it, sub-folders too.

    Raises UserError for a path that is not there, and for a folder without pictures.
    """
    found: list[Path] = []
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
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"there is no image {path}")
    if not found:
        raise UserError("no images were given")
    return found


def predict(
    model: str | Path | Run,
    images: str | Path | Iterable[str | Path],
    top: int = 3,
    weights: str | Path | None = None,
    engine: str = "auto",
) -> list[dict[str, Any]]:
    """The `top` most probable classes of each picture, most probable first.

    `model` is a run, its folder, or a model file that reslab wrote; with `weights`
    ("timm/resnet50.a1_in1k", or a file), it is the name of a network. `images` are files, or
    folders of them, or one such path. `engine` is as in `reslab.inference`. Returns {"file",
    "predictions": [{"class", "probability"}]} for each. Raises UserError where the model or a
    picture cannot be read, or the engine is not there.
    """
    from reslab.engines import inference

    inference.check_engine(engine)
    path = None
    if weights is not None:
        zoo.network(str(model))
    else:
        path = model.model_path if isinstance(model, Run) else _model_path(Path(model))
    shown = files(images)
    for image in shown:
        _check(image)
    how = engine, len(shown) >= MANY
    classes, probabilities = (
        _whole(path, *how) if path else _pretrained(str(model), weights or "", *how)
    )
    results: list[dict[str, Any]] = []
    for start in range(0, len(shown), BATCH):
        part = shown[start : start + BATCH]
        rows = probabilities(part)
        results += [
            _result(image, row, classes, top) for image, row in zip(part, rows, strict=True)
        ]
    return results


Probabilities = Callable[[Sequence[Path]], np.ndarray]


def _whole(path: Path, engine: str, compare: bool) -> tuple[Sequence[str], Probabilities]:
    from reslab.engines import inference
    from reslab.models import saved

    net, card = saved.load_with_card(path)
    run = inference.inference(net, engine, compare)

    def probabilities(part: Sequence[Path]) -> np.ndarray:
        batch = np.stack([_view(image, card) for image in part])
        return np.asarray(run(batch), "float32")

    return card["classes"], probabilities


def _pretrained(
    network: str, weights: str | Path, engine: str, compare: bool
) -> tuple[Sequence[str], Probabilities]:
    from reslab.evaluation.classifier import Classifier

    classifier = Classifier(network, weights, engine, compare)
    return classifier.classes, classifier


def _model_path(path: Path) -> Path:
    if (path / "run.json").exists():
        run = Run.open(path)
        if not run.model_path.exists():
            raise UserError(
                f"{path} has no model yet: finish it with `reslab train --resume {path}`"
            )
        return run.model_path
    if not path.exists():
        raise UserError(f"there is no run and no model file at {path}")
    if path.is_dir():
        raise UserError(f"{path} is no run: there is no run.json in it")
    return path


def _check(image: Path) -> None:
    try:
        pictures.check(image)
    except pictures.BadImage as error:
        raise UserError(f"{image} cannot be read: {error}") from None


def _view(image: Path, card: dict[str, Any]) -> np.ndarray:
    """As the model's own data were brought to size: uint8 (height, width, channels)."""
    height, width, channels = card["image_shape"]
    # only a folder's lost a margin
    return pictures.read_view(image, (height, width), channels, margin=bool(card["view"]))


def _result(image: Path, row: np.ndarray, classes: Sequence[str], top: int) -> dict[str, Any]:
    best = np.argsort(-row, kind="stable")[:top]
    return {
        "file": str(image),
        "predictions": [{"class": classes[i], "probability": float(row[i])} for i in best],
    }
