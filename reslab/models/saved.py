"""Model files: a trained model from raw images to probabilities, with a card that describes it.

The file is a stock `.keras` file. The card (class names, network, data set, how images are resized)
is one more member, `reslab.json`, which plain Keras ignores.
"""

from __future__ import annotations

import json
import logging
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h5py
import keras
import numpy as np
from keras import layers

from reslab.acceleration.accelerate import accelerate, fast_initialisation
from reslab.core import files, hdf5, limits, records
from reslab.core.environment import check_clock
from reslab.core.errors import UserError, one_line
from reslab.core.paths import regular
from reslab.data.sources import hub
from reslab.models import layers as _layers  # noqa: F401  registers the layers of older files
from reslab.models import optimizers as _optimizers  # noqa: F401  registers the optimisers of compiled models
from reslab.models.build import allow_layers
from reslab.models.finite import check_finite, diverged
from reslab.models.preprocess import NoPreprocess, Preprocess
from reslab.runs.run import Run
from reslab.spec.serialize import UnregisteredPart, decode_network

log = logging.getLogger("reslab.models")
CARD = "reslab.json"
WEIGHT_SUFFIXES = (
    ".weights.h5",
    ".safetensors",
    ".pth",
    ".pt",
    ".ckpt",
    ".bin",
    ".tar",
    ".index.json",
)
MAX_LAYERS = 100_000  # nested more deeply, Python and JSON readers run out of stack


def end_to_end(
    net: keras.Model,
    shape: tuple[int, int, int],
    mean: Any,
    std: Any,
    activation: str = "softmax",
) -> keras.Model:
    """A model from images (n, height, width, channels) in 0..255 to probabilities (n, classes).

    `net` maps normalised images to logits, in NHWC or NCHW. `mean` and `std` normalise the images;
    they are in units of 0..255 and broadcastable to `shape`. `activation` is "softmax", or
    "sigmoid" for several labels per image.
    """
    mean, std = (np.broadcast_to(np.asarray(a, "float32"), shape) for a in (mean, std))
    per_channel = all(np.ptp(a, axis=(0, 1)).max() == 0 for a in (mean, std))
    if per_channel:
        mean, std = mean[0, 0], std[0, 0]
    axis: Any = -1 if per_channel else (1, 2, 3)
    inputs = keras.Input(shape, name="image")
    normalise = layers.Normalization(axis=axis, mean=mean, variance=std**2, dtype="float32")
    x = normalise(inputs)
    if net.input_shape[1:] != shape:
        x = layers.Permute((3, 1, 2), name="to_channels_first")(x)
    uncompiled = keras.Model(net.input, net.output, name=net.name)
    if activation == "softmax":
        last: Any = layers.Softmax(name="probabilities", dtype="float32")
    else:
        last = layers.Activation(activation, name="probabilities", dtype="float32")
    x = last(uncompiled(x))
    return keras.Model(inputs, x, name=f"{net.name}_whole")


def save(model: keras.Model, path: Path, card: Mapping[str, Any], member: str = CARD) -> None:
    """Write a `.keras` file with the card as one more member, in JSON. The write is atomic.

    Raises UserError if it cannot be written, or a weight is not finite.
    """
    check_clock()
    check_finite(model)

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
    """The card of a model file. Raises UserError if reslab did not write the file."""
    try:
        if _is_hdf5(regular(path)):
            raise KeyError(CARD)
        with zipfile.ZipFile(path) as file:
            limits.check_archive(path, file)
            card = records.parse(file.read(CARD))
    except FileNotFoundError:
        raise UserError(f"there is no model at {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a model file") from None
    except (zipfile.BadZipFile, OSError) as error:
        reason = getattr(error, "strerror", None)
        text = f": {reason}" if reason else ""
        raise UserError(f"{path} is not a .keras file, or is damaged{text}") from None
    except KeyError:
        raise UserError(
            f"{path} is a Keras model that reslab did not train: it has no {CARD}, so its classes "
            "and preprocessing are not known"
        ) from None
    except (ValueError, zlib.error, RecursionError, NotImplementedError, RuntimeError):
        raise UserError(f"{path} is damaged: its {CARD} cannot be read") from None
    if not _is_card(card):
        raise UserError(f"{path} is damaged: its {CARD} is not a card of reslab")
    return card


def _is_card(card: Any) -> bool:
    """Whether the card has what `predict` and `evaluate` read."""
    try:
        with suppress(UnregisteredPart):  # a model of stock layers predicts all the same
            decode_network(card["network"])
        names = [*card["classes"], card["data"]]
        height, width, channels = card["image_shape"]
        return (
            all(isinstance(name, str) for name in names)
            and all(isinstance(n, int) and n > 0 for n in (height, width, channels))
            and channels in (1, 3)
            and "view" in card
            and ("thresholds" not in card or _fit(card["thresholds"], card["classes"]))
        )
    except (TypeError, KeyError, ValueError, AttributeError, UserError):
        return False


def _fit(thresholds: Any, classes: Any) -> bool:
    """Whether there is a threshold for each class."""
    return len(thresholds) == len(classes) and all(
        isinstance(value, int | float) and 0 <= value <= 1 for value in thresholds
    )


def load_with_card(path: Path) -> tuple[keras.Model, dict[str, Any]]:
    """A trained model, accelerated, and its card.

    Never runs code from the file. Raises UserError if the file cannot be read, is not reslab's, or
    has weights that are not finite.
    """
    card = read_card(path)
    model = _load(path, compile=False)
    expected = *card["image_shape"], len(card["classes"])
    actual = *_shape(model.input_shape), *_shape(model.output_shape)
    if actual != expected:
        raise UserError(f"{path} is damaged: {CARD} says {expected}, the model in it is {actual}")
    check_finite(model, str(path))
    return accelerate(model), card


if TYPE_CHECKING:

    class LoadedModel(keras.Model):
        """A `keras.Model` with what `load` attaches to it."""

        classes: tuple[str, ...]
        preprocess: Preprocess

else:
    LoadedModel = keras.Model


def load(path: str | Path) -> LoadedModel:
    """Load the model of a run, or of any `.keras` or `.h5` file, and accelerate it.

    Differs from `keras.saving.load_model` in five ways: reslab's layers and optimisers are
    registered, networks of any depth can be loaded, JAX compiles less, the model is accelerated
    (`reslab.accelerate`), and it has the attributes `classes` and `preprocess`. Code in the file
    is never run. A warning says if the weights are not finite.

    Args:
        path: The folder of a run, a `.keras` file that reslab or Keras wrote, or the `.h5` or
            `.hdf5` file of a whole model that Keras wrote. Or "hf://USER/NAME" or
            "hf://USER/NAME@REVISION", a model on the Hugging Face hub that `reslab push` uploaded.

    Returns:
        A `keras.Model`, compiled if it was compiled when it was saved. The model of a run maps raw
        images (n, height, width, channels) in 0..255 to probabilities (n, classes). It has two
        more attributes:

        - `classes`: the names of the classes in the order of the probabilities; () if reslab did
            not train the model.
        - `preprocess(images)`: one image or several (paths, bytes, open binary files, Pillow
            images, or uint8 arrays in 0..255) as the batch that the model takes, uint8
            (n, height, width, channels), cut and scaled as in the training and in `reslab.predict`.
            It raises UserError if reslab did not train the model.

    Raises:
        UserError: There is no model at `path`, or it cannot be loaded.
    """
    path = hub.open_snapshot(path).file("model.keras") if hub.is_address(path) else Path(path)
    _check_kind(path)
    file = Run.open(path).model_path if path.is_dir() else path
    model = accelerate(_load(file))
    if variable := diverged(model):
        log.warning("%s: the weights are not finite (%s): its training diverged", file, variable)
    classes: tuple[str, ...] = ()
    preprocess: Preprocess | NoPreprocess
    try:
        card = read_card(file)
        classes, preprocess = tuple(card["classes"]), Preprocess.of_card(card)
    except UserError as error:
        preprocess = NoPreprocess(str(error))
    for name, value in (("classes", classes), ("preprocess", preprocess)):
        object.__setattr__(model, name, value)  # Keras and TensorFlow would wrap and track it
    return cast(LoadedModel, model)


def _load(path: Path, compile: bool = True) -> keras.Model:
    try:
        with _source(path) as layers, fast_initialisation(), _quiet():
            if layers > MAX_LAYERS:
                raise UserError(f"{path} declares {layers:,} layers: reslab loads {MAX_LAYERS:,}")
            allow_layers(layers)
            try:
                return keras.saving.load_model(path, compile=compile, safe_mode=True)
            except Exception:
                if not (compile and _is_hdf5(path)):
                    raise
                # Keras 3 cannot name the metrics of some older files
                model = keras.saving.load_model(path, compile=False, safe_mode=True)
                log.warning("%s is not compiled: its loss or its metrics cannot be read", path)
                return model
    except FileNotFoundError:
        raise UserError(f"there is no model at {path}") from None
    except UserError:
        raise
    except Exception as error:  # of any class: Keras raises KeyError, OSError and others
        _name_unregistered(path)
        reason = error.strerror if isinstance(error, OSError) else None
        text = one_line(reason or error) or type(error).__name__
        raise UserError(f"{path} cannot be loaded as a model: {text}") from None


def _check_kind(path: Path) -> None:
    """Raise UserError for what is no model file, and say how its weights can be used."""
    if path.is_dir() and (path / "saved_model.pb").exists():
        raise UserError(
            f"{path} is a SavedModel of TensorFlow, a program without layers: load the model where "
            "it was made and save it as .keras, or run it with keras.layers.TFSMLayer"
        )
    if path.name.lower().endswith(WEIGHT_SUFFIXES):
        raise UserError(
            f"{path} is a file of weights, not of a model: use "
            f'reslab.create(NAME, weights="{path.name}") with the name of its network'
        )


@contextmanager
def _source(path: Path) -> Iterator[int]:
    """Check the sizes and links in a model file; gives the number of its layers, at least."""
    if not _is_hdf5(regular(path)):
        with zipfile.ZipFile(path) as file:
            limits.check_archive(path, file)
            number = file.read("config.json").count(b'"class_name"')
            for name in file.namelist():
                if name.endswith(".json"):
                    records.parse(file.read(name))  # raises where Keras's parser might crash
                elif name.endswith(".h5"):
                    with file.open(name) as weights, h5py.File(weights, "r") as root:
                        hdf5.check(path, root)
        yield number
        return
    with h5py.File(path, "r") as root:
        hdf5.check(path, root)
        config = root.attrs.get("model_config")
    if config is None:
        raise UserError(
            f"{path} has weights without a model: use "
            f'reslab.create(NAME, weights="{path.name}") with the name of its network'
        )
    records.parse(config)
    yield str(config).count("class_name")


def _is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, as Keras 1 and 2 wrote models, whatever its suffix."""
    return path.is_file() and h5py.is_hdf5(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without absl's warnings about the age of the format."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _name_unregistered(path: Path) -> None:
    """Raise a UserError that names the user's part whose Keras layer may be what is missing."""
    try:
        decode_network(read_card(path)["network"])
    except UnregisteredPart as error:
        raise UserError(f"{path} cannot be loaded as a model: {error}") from None
    except UserError:
        return


def _shape(shape: Any) -> tuple[Any, ...]:
    """The shape without the batch; () for a model with several inputs or outputs."""
    return tuple(shape[1:]) if isinstance(shape, tuple) else ()
