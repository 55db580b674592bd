"""A trained model as `reslab predict` and the server use it: from pictures to its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import keras
import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.data import images as pictures
from reslab.data.sources import hub
from reslab.engines import opening
from reslab.engines.exported import Exported
from reslab.evaluation.classifier import Classifier, Prepare
from reslab.evaluation.maps import CAM, ClassMaps
from reslab.evaluation.tasks.registry import task, task_of
from reslab.models import saved
from reslab.models.preprocess import Preprocess
from reslab.runs.run import Run, trained_file
from reslab.weights.preprocessing import Preprocessing, decode
from reslab.weights.repository import open_repository

if TYPE_CHECKING:
    from reslab.evaluation.tasks.base import Task


Box = tuple[float, float, float, float]
MapFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Predictor:
    """A trained model, ready to predict.

    Attributes:
        task: What the model was trained for. It knows the form of the predictions.
        card: What is known of the model. "classes" are the names of its classes.
        image_shape: (height, width, channels) of the images that the network takes.
        any_size: Whether `run` takes whole pictures, and resizes them itself. Those of one call
            have one size.
        read: Decodes a file to what `run` takes: uint8 (height, width, channels). It raises
            BadImage. It may be used from several threads at once.
        fit: The same for a decoded picture, uint8 (height, width, channels) of any size.
        run: Maps images that `read` or `fit` returned to one row of outputs for each.
        engine: What runs the network first: "openvino", "onnxruntime", "torch", "jax" or
            "tensorflow".
        seen: The box of a picture of this width and height that the network sees: left, top, right
            and bottom in pixels. It may be larger than the picture.
        maps: Prepares what maps such images and the index of a class for each to maps (n, rows,
            columns), and gives the name of the method. It raises UserError for a model without
            maps.
    """

    task: Task
    card: Mapping[str, Any]
    image_shape: tuple[int, int, int]
    any_size: bool
    read: Callable[[Path | IO[bytes]], np.ndarray]
    fit: Callable[[np.ndarray], np.ndarray]
    run: Callable[[Sequence[np.ndarray]], np.ndarray]
    engine: str
    seen: Callable[[int, int], Box]
    maps: Callable[[], tuple[MapFunction, str]]


def open_predictor(
    model: str | Path | Run,
    weights: str | Path | None,
    prepare: Prepare,
    engine: str = "auto",
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
    by_pillow: bool = False,
) -> Predictor:
    """Open a run, a model file, an exported file, or a network with `weights`.

    `prepare` turns a Keras model into what runs it. `engine` is the engine that it takes; an
    exported file runs on the runtime of its format, and other engines are refused for it. With
    `by_pillow` files that resize pictures themselves get resized ones where that is possible.

    Raises:
        UserError: The model cannot be read.
    """
    if weights is not None and hub.is_address(weights):
        network, model = zoo.network(str(model)), weights
        open_repository(weights).check(network)
    elif weights is not None:
        zoo.network(str(model))
        classifier = Classifier(
            str(model), weights, scheme=scheme, strict=strict, ema=ema, prepare=prepare
        )
        return _pretrained(classifier, str(model), str(weights))
    path = trained_file(model, opening.kind_of)
    if opening.kind_of(path):
        return _exported(path, engine, by_pillow)
    return _whole(path, prepare)


def _exported(path: Path, engine: str, by_pillow: bool) -> Predictor:
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

    made = Predictor(
        task_of(card),
        card,
        (height, width, channels),
        any_size=not file.fixed_size,
        read=preprocess.read if file.fixed_size else whole,
        fit=preprocess.fit if file.fixed_size else lambda image: image,
        run=lambda images: file.probabilities(np.stack(images)),
        engine=file.runtime,
        seen=partial(_seen, card),
        maps=partial(_maps_of_file, file),
    )
    return _by_pillow(made, file, preprocess) if by_pillow and made.any_size else made


def _by_pillow(made: Predictor, file: Exported, preprocess: Preprocess) -> Predictor:
    """The same with pictures resized by Pillow: pictures of several sizes make one batch then."""
    if file.network is None:
        return made
    behind = file.behind_view()
    if "view" in made.card:
        return replace(
            made,
            any_size=False,
            read=preprocess.read,
            fit=preprocess.fit,
            run=lambda images: behind.probabilities(np.stack(images)),
        )
    if "preprocessing" not in made.card:
        return made
    preprocessing = decode(made.card["preprocessing"])
    order = slice(None, None, -1 if preprocessing.order == "bgr" else 1)
    return replace(
        made,
        any_size=False,
        read=preprocessing.picture,
        fit=partial(_fit, preprocessing),
        run=lambda images: behind.probabilities(np.stack(images)[..., order]),
    )


def _maps_of_file(file: Exported) -> tuple[MapFunction, str]:
    if file.maps is None:
        raise UserError(f"{file.path} has no maps: export it with --maps")
    maps = file.maps

    def compute(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return maps(images)[np.arange(len(images)), ..., classes]

    return compute, CAM


def _maps_of_model(model: keras.Model) -> tuple[MapFunction, str]:
    maps = ClassMaps(model)
    return maps, maps.method


def _seen(card: Mapping[str, Any], width: int, height: int) -> Box:
    """The part of a picture that a model with this card sees."""
    if "preprocessing" in card:
        return decode(card["preprocessing"]).seen(width, height)
    high, wide, _ = card["image_shape"]
    return pictures.centre_box(width, height, high, wide, margin=bool(card.get("view")))


def _fit(preprocessing: Preprocessing, image: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(preprocessing.view(Image.fromarray(image)))


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
        seen=partial(_seen, card),
        maps=partial(_maps_of_model, model),
    )


def _pretrained(classifier: Classifier, network: str, weights: str) -> Predictor:
    preprocessing = classifier.preprocessing

    def maps() -> tuple[MapFunction, str]:
        compute, method = _maps_of_model(classifier.model)
        return lambda images, classes: compute(preprocessing.normalise(images), classes), method

    return Predictor(
        task(),
        {
            "classes": list(classifier.classes),
            "image_shape": [preprocessing.size, preprocessing.size, 3],
            "preprocessing": preprocessing.encode(),
            "network": network,
            "weights": weights,
        },
        (preprocessing.size, preprocessing.size, 3),
        any_size=False,
        read=preprocessing.picture,
        fit=partial(_fit, preprocessing),
        run=lambda images: classifier(np.stack(images)),
        engine=classifier.run.engine,
        seen=preprocessing.seen,
        maps=maps,
    )
