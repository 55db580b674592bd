"""A trained model as `reslab predict` and the server use it: from pictures to its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE
from reslab.data import images as pictures
from reslab.engines import opening
from reslab.evaluation.classifier import Classifier, Prepare
from reslab.evaluation.tasks.registry import task, task_of
from reslab.models import saved
from reslab.models.preprocess import Preprocess
from reslab.runs.run import Run

if TYPE_CHECKING:
    from reslab.evaluation.tasks.base import Task


@dataclass(frozen=True)
class Predictor:
    """A trained model, ready to predict.

    Attributes:
        task: What the model was trained for. It knows the form of the predictions.
        card: What is known of the model. "classes" are the names of its classes.
        image_shape: (height, width, channels) of the images that the network takes.
        any_size: Whether `run` takes whole pictures, and resizes them itself.
        read: Decodes a file to what `run` takes: uint8 (height, width, channels). It raises
            BadImage. It may be used from several threads at once.
        fit: The same for a decoded picture, uint8 (height, width, channels) of any size.
        run: Maps images that `read` or `fit` returned to one row of outputs for each.
        engine: What runs the network first: "openvino", "onnxruntime", "torch", "jax" or
            "tensorflow".
    """

    task: Task
    card: Mapping[str, Any]
    image_shape: tuple[int, int, int]
    any_size: bool
    read: Callable[[Path | IO[bytes]], np.ndarray]
    fit: Callable[[np.ndarray], np.ndarray]
    run: Callable[[Sequence[np.ndarray]], np.ndarray]
    engine: str


def open_predictor(
    model: str | Path | Run,
    weights: str | Path | None,
    prepare: Prepare,
    engine: str = "auto",
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
) -> Predictor:
    """Open a run, a model file, an exported file, or a network with `weights`.

    `prepare` turns a Keras model into what runs it. `engine` is the engine that it takes; an
    exported file runs on the runtime of its format, and other engines are refused for it.

    Raises:
        UserError: The model cannot be read.
    """
    if weights is not None:
        zoo.network(str(model))
        return _pretrained(
            Classifier(str(model), weights, scheme=scheme, strict=strict, ema=ema, prepare=prepare)
        )
    path = trained_file(model)
    if opening.kind_of(path):
        return _exported(path, engine)
    return _whole(path, prepare)


def trained_file(model: str | Path | Run) -> Path:
    """The file of a trained model: of a run, or the file itself.

    Raises UserError if there is none.
    """
    if isinstance(model, Run):
        return model.trained_model()
    path = Path(model)
    if (path / RUN_FILE).exists():
        return Run.open(path).trained_model()
    if not path.exists():
        raise UserError(f"there is no run and no model file at {path}")
    if path.is_dir() and not opening.kind_of(path):
        raise UserError(f"{path} is not a run: there is no run.json in it")
    return path


def _exported(path: Path, engine: str) -> Predictor:
    """A file of `reslab export`, on the runtime of its format."""
    file = opening.open_file(path)
    if engine not in ("auto", file.runtime):
        raise UserError(f"{path} runs on {file.runtime}: leave --engine out")
    card = file.card
    if file.fixed_size and "view" not in card:
        raise UserError(f"{path} takes resized images: export it without --fixed-size")
    height, width, channels = card["image_shape"]
    preprocess = Preprocess.of_card({"view": None, **card})

    def whole(image: Path | IO[bytes]) -> np.ndarray:
        size = pictures.needed((height, width), None)
        return pictures.to_array(pictures.open_picture(image, size, preprocess.scale), channels)

    def one_size(images: Sequence[np.ndarray]) -> np.ndarray:
        return file.probabilities(np.stack(images))

    def any_size(images: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([file.probabilities(image[None])[0] for image in images])

    return Predictor(
        task_of(card),
        card,
        (height, width, channels),
        any_size=not file.fixed_size,
        read=preprocess.read if file.fixed_size else whole,
        fit=preprocess.fit if file.fixed_size else lambda image: image,
        run=one_size if file.fixed_size else any_size,
        engine=file.runtime,
    )


def _whole(path: Path, prepare: Prepare) -> Predictor:
    model, card = saved.load_with_card(path)
    run = prepare(model)
    preprocess = Preprocess.of_card(card)

    def outputs(images: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(run(np.stack(images)), "float32")

    return Predictor(
        task_of(card),
        card,
        preprocess.image_shape,
        any_size=False,
        read=preprocess.read,
        fit=preprocess.fit,
        run=outputs,
        engine=run.engine,
    )


def _pretrained(classifier: Classifier) -> Predictor:
    preprocessing = classifier.preprocessing

    def fit(image: np.ndarray) -> np.ndarray:
        from PIL import Image

        return np.asarray(preprocessing.view(Image.fromarray(image)))

    return Predictor(
        task(),
        {"classes": classifier.classes},
        (preprocessing.size, preprocessing.size, 3),
        any_size=False,
        read=preprocessing.picture,
        fit=fit,
        run=lambda images: classifier(np.stack(images)),
        engine=classifier.run.engine,
    )
