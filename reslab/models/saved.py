"""A trained model as one file: raw images in, probabilities out, and a card that says of what.

The file is a stock `.keras` file; the card (classes, network, data, how images are brought to
size) lies in it as one more member, `reslab.json`, which plain Keras passes over.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from reslab.acceleration.accelerate import accelerate, making
from reslab.core import files
from reslab.core.errors import UserError
from reslab.models import optimizers as _optimizers  # noqa: F401  registers what compiled models name
from reslab.models.build import allow_layers
from reslab.runs.run import Run
from reslab.spec.serialize import decode_network

CARD = "reslab.json"


def whole(net: keras.Model, shape: tuple[int, int, int], mean: Any, std: Any) -> keras.Model:
    """Images (n, height, width, channels) of 0..255 to probabilities (n, classes).

    `mean` and `std` are those of the standardisation, in units of 0..255, broadcastable to
    `shape`; `net` maps standardised images to logits, in either data format.
    """
    mean, std = (np.broadcast_to(np.asarray(a, "float32"), shape) for a in (mean, std))
    per_channel = all(np.ptp(a, axis=(0, 1)).max() == 0 for a in (mean, std))
    if per_channel:
        mean, std = mean[0, 0], std[0, 0]
    axis: Any = -1 if per_channel else (1, 2, 3)
    inputs = keras.Input(shape, name="image")
    standard = layers.Normalization(axis=axis, mean=mean, variance=std**2, dtype="float32")
    x = standard(inputs)
    if net.input_shape[1:] != shape:
        x = layers.Permute((3, 1, 2), name="to_channels_first")(x)
    bare = keras.Model(net.input, net.output, name=net.name)  # without how it was trained
    x = layers.Softmax(name="probabilities", dtype="float32")(bare(x))
    return keras.Model(inputs, x, name=f"{net.name}_whole")


def save(model: keras.Model, path: Path, card: Mapping[str, Any], member: str = CARD) -> None:
    """Write a `.keras` file with the card as one more member, in JSON; atomic.

    Plain Keras ignores the member.
    """

    def write(temporary: Path) -> None:
        archive = temporary.with_suffix(".tmp.keras")  # Keras requires the suffix .keras
        try:
            model.save(archive)
            with zipfile.ZipFile(archive, "a") as file:
                file.writestr(member, json.dumps(card, ensure_ascii=False))
            archive.replace(temporary)
        finally:
            archive.unlink(missing_ok=True)

    files.write(path, write)


def read_card(path: Path) -> dict[str, Any]:
    """The card of a model file; raises UserError where the file is none of reslab's."""
    try:
        with zipfile.ZipFile(path) as file:
            card = json.loads(file.read(CARD))
    except FileNotFoundError:
        raise UserError(f"there is no model at {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a model file") from None
    except (zipfile.BadZipFile, OSError):
        raise UserError(f"{path} is not a .keras file, or is damaged") from None
    except KeyError:
        raise UserError(
            f"{path} is a Keras model that reslab did not train: it has no {CARD}, so its classes "
            "and its preprocessing are not known"
        ) from None
    except (ValueError, zlib.error):
        raise UserError(f"{path} is damaged: its {CARD} cannot be read") from None
    if not _is_card(card):
        raise UserError(f"{path} is damaged: its {CARD} is not what reslab writes")
    return card


def _is_card(card: Any) -> bool:
    """Whether what `predict` and `evaluate` read of it is there."""
    try:
        decode_network(card["network"])
        words = [*card["classes"], card["data"]]
        height, width, channels = card["image_shape"]
        return (
            all(isinstance(word, str) for word in words)
            and all(isinstance(n, int) and n > 0 for n in (height, width, channels))
            and channels in (1, 3)
            and "view" in card
        )
    except (TypeError, KeyError, ValueError, AttributeError, UserError):
        return False


def opened(path: Path) -> tuple[keras.Model, dict[str, Any]]:
    """A trained model, accelerated, and its card. Never runs code from it. Raises UserError."""
    card = read_card(path)
    model = _read(path, compile=False)
    outside = *card["image_shape"], len(card["classes"])
    inside = *_shape(model.input_shape), *_shape(model.output_shape)
    if inside != outside:
        raise UserError(f"{path} is damaged: {CARD} says {outside}, the model in it is {inside}")
    return accelerate(model), card


def load(path: str | Path) -> keras.Model:
    """The model of a run's folder or of any `.keras` file, accelerated (`reslab.accelerate`).

    As `keras.saving.load_model`, compiled where it was, but for three things: reslab's own layers
    and optimisers are known, graphs of any depth can be read, and JAX compiles less. Never runs
    code from the file. Raises UserError where there is no model, or none that can be read.
    """
    path = Path(path)
    return accelerate(_read(Run.open(path).model_path if path.is_dir() else path))


def _read(path: Path, compile: bool = True) -> keras.Model:
    try:
        with zipfile.ZipFile(path) as file:
            allow_layers(file.read("config.json").count(b'"class_name"'))  # no fewer than layers
        with making():
            return keras.saving.load_model(path, compile=compile, safe_mode=True)
    except FileNotFoundError:
        raise UserError(f"there is no model at {path}") from None
    except Exception as error:  # Keras raises anything here, KeyError to OSError
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path} cannot be loaded as a model: {text[0]}") from None


def _shape(shape: Any) -> tuple[Any, ...]:
    """Without the batch; nothing of a model with several inputs or outputs."""
    return tuple(shape[1:]) if isinstance(shape, tuple) else ()
