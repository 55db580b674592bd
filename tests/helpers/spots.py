"""A network that sees a class where a picture is bright, and pictures with one bright spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from reslab.models import saved
from reslab.models.build import create
from reslab.spec import Conv, Dense, Flatten, GlobalAvgPool, Network, Part, ReLU
from reslab.spec.serialize import encode_network

CLASSES = ["bright", "dark"]


def network(height: int, width: int, head: Part = GlobalAvgPool) -> Network:
    """Brightness, averaged over 8 x 8 pixels; `head` stands before the last layer."""
    rows = {"conv": (Conv(1, 8, 8, pad=0, bias=True), ReLU), "head": (head, Dense(2))}
    return Network("spots", rows, (height, width, 3))


def bright(net: keras.Model) -> keras.Model:
    """The model with weights by which the first class is brightness."""
    for variable in net.trainable_variables:
        value = np.zeros(variable.shape, "float32")
        if len(variable.shape) == 4:
            value[:] = 1 / value.size
        elif len(variable.shape) == 2:
            value[:] = np.array([1, -1]) / len(value)
        variable.assign(value)
    return net


def model_file(
    path: Path, height: int = 64, width: int = 96, head: Part = GlobalAvgPool, **card: Any
) -> Path:
    """The network as a run saves it."""
    net = network(height, width, head)
    model = saved.end_to_end(bright(create(net)), (height, width, 3), 20.0, 20.0)
    facts = {"classes": CLASSES, "image_shape": [height, width, 3], "view": "centre"}
    saved.save(model, path, {**facts, "data": "spots", "network": encode_network(net), **card})
    return path


def picture(path: Path, width: int, height: int, x: float, y: float, **save: Any) -> Path:
    """Black with a bright spot around (x, y), which are shares of the width and the height."""
    rows, columns = np.mgrid[:height, :width]
    distance = (rows + 0.5 - y * height) ** 2 + (columns + 0.5 - x * width) ** 2
    spot = 255 * np.exp(-distance / (0.07 * min(width, height)) ** 2)
    pixels = np.repeat(spot[..., None], 3, -1).round().astype(np.uint8)
    Image.fromarray(pixels).save(path, **save)
    return path


HEADS = {"global": GlobalAvgPool, "flat": Flatten()}
