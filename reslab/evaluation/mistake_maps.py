"""Where a model saw the wrong class: maps of the mistakes that an evaluation keeps."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError, one_line
from reslab.data import Split
from reslab.evaluation.features import feature_maps, last_layer
from reslab.evaluation.maps import ClassMaps
from reslab.evaluation.scoring import outputs

log = logging.getLogger("reslab.evaluation")


def add(
    model: keras.Model, split: Split, mistakes: list[dict[str, Any]], classes: Sequence[str]
) -> None:
    """Give each mistake its "map": where the model saw the predicted class, or the label.

    A map is `{"rows", "columns", "values"}`; the values are bytes in base64, row by row, from 0 to
    255 for the largest. Without exact class activation maps it is Grad-CAM. Models without feature
    maps get none.
    """
    if not mistakes:
        return
    index = {name: i for i, name in enumerate(classes)}
    chosen = np.array([index[each.get("class", each["predicted"])] for each in mistakes])
    positions = np.array([each["index"] for each in mistakes])
    try:
        maps = _maps(model, split.take(positions), chosen)
    except UserError as reason:
        log.info("%s", reason)
        return
    except Exception as error:  # of any backend: an evaluation must not fail for its pictures
        log.warning("no maps of the mistakes: %s", one_line(error) or type(error).__name__)
        return
    for mistake, values in zip(mistakes, np.nan_to_num(maps), strict=True):
        mistake["map"] = _packed(values)


def _maps(model: keras.Model, split: Split, chosen: np.ndarray) -> np.ndarray:
    extractor, last = feature_maps(model), last_layer(model)
    if extractor is not None and last is not None:
        features = outputs(extractor, split)
        kernel = np.asarray(keras.ops.convert_to_numpy(last.kernel))
        bias = 0 if last.bias is None else np.asarray(keras.ops.convert_to_numpy(last.bias))[chosen]
        maps = np.einsum("nyxk,kn->nyx", features, kernel[:, chosen], optimize=True)
        return maps + np.reshape(bias, (-1, 1, 1))
    return ClassMaps(model)(split.images(slice(None)), chosen)


def _packed(values: np.ndarray) -> dict[str, Any]:
    largest = float(values.max())
    share = np.clip(values / largest, 0, 1) if largest > 0 else np.zeros_like(values)
    text = base64.b64encode((255 * share).round().astype(np.uint8).tobytes()).decode()
    rows, columns = values.shape
    return {"rows": rows, "columns": columns, "values": text}
