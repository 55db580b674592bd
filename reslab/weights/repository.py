"""A trained network on the Hugging Face hub, as `reslab export --to hub` writes it.

    config.json          the network by value, classes, preprocessing
    model.safetensors    its weights, under reslab's names
    model.keras          the whole model
    model.onnx           the whole model, pictures of any size to probabilities

config.json is data: nothing in it is run, and no file is a pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np
from msgspec import Meta

from reslab.core import records
from reslab.core.errors import UserError
from reslab.core.records import AnyNumber
from reslab.data.dataset import CLASSIFICATION
from reslab.data.sources import hub
from reslab.spec import Network
from reslab.spec.serialize import decode_network
from reslab.weights import match

CONFIG, WEIGHTS, MODEL = "config.json", "model.safetensors", "model.keras"
FORMAT = 1
Side = Annotated[int, Meta(ge=1, le=2**16)]


class NormalizationRecord(TypedDict):
    """Mean and std of the images in 0..255: (1, 1, channels) or (height, width, channels)."""

    mean: list[list[list[AnyNumber]]]
    std: list[list[list[AnyNumber]]]


class ConfigRecord(TypedDict):
    """config.json."""

    reslab: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    network: dict[str, Any]
    classes: list[str]
    image_shape: Annotated[list[Side], Meta(min_length=3, max_length=3)]
    normalization: NormalizationRecord
    task: NotRequired[str]
    view: NotRequired[Any]
    scale: NotRequired[Any]


@dataclass(frozen=True, eq=False)
class Repository:
    """A trained network on the hub. Files are downloaded when they are needed.

    Attributes:
        mean: Of the images in 0..255, float32 (1, 1, c) or (h, w, c); `std` likewise.
    """

    snapshot: hub.Snapshot
    network: Network
    classes: tuple[str, ...]
    task: str
    mean: np.ndarray
    std: np.ndarray

    @property
    def pinned(self) -> str:
        """The address with the commit."""
        return self.snapshot.pinned

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.snapshot.file(WEIGHTS)

    @property
    def model(self) -> Path:
        """The file of the whole model."""
        return self.snapshot.file(MODEL)

    def check(self, network: Network) -> None:
        """Raise UserError if this is another network."""
        if difference := match.functional_difference(self.network, network):
            raise UserError(
                f"{self.pinned} is of {self.network.name}, not of {network.name}: {difference}"
            )


def open_repository(name: str | Path) -> Repository:
    """Read the configuration of a repository.

    Raises:
        UserError: There is no such repository, it has no weights or no configuration, or the
            configuration is not one of reslab.
    """
    snapshot = hub.open_snapshot(name)
    for file in (CONFIG, WEIGHTS):
        if file not in snapshot.files:
            snapshot.file(file)  # raises
    where = f"{CONFIG} of {snapshot.pinned}"
    try:
        config = records.parse(snapshot.file(CONFIG).read_bytes())
        if not isinstance(config, dict) or "reslab" not in config:
            raise UserError(
                f"{where} was not written by reslab: weights of timm are called timm/NAME"
            )
        records.check(config, ConfigRecord)
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror or error}") from None
    except records.Damaged as error:
        raise UserError(f"{where} is damaged: {error}") from None
    try:
        network = decode_network(config["network"])
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    classes = tuple(config["classes"])
    if network.classes != len(classes):
        raise UserError(
            f"{where} is damaged: {len(classes)} classes, and the network has {network.classes}"
        )
    mean, std = (_array(config, key, where) for key in ("mean", "std"))
    task = config.get("task", CLASSIFICATION)
    return Repository(snapshot, network, classes, task, mean, std)


def _array(config: Mapping[str, Any], key: str, where: str) -> np.ndarray:
    height, width, channels = config["image_shape"]
    try:
        array = np.array(config["normalization"][key], "float32")
    except ValueError:  # rows of different lengths
        array = np.zeros(0, "float32")
    fits = array.shape in ((1, 1, channels), (height, width, channels))
    if not fits or not np.isfinite(array).all() or (key == "std" and array.min() <= 0):
        raise UserError(f"{where} is damaged: its {key} does not fit images of {height}x{width}")
    return array
