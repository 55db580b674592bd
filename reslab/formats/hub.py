"""A trained network as a repository of the Hugging Face hub: the format `--to hub`.

`reslab.weights.repository` says which files it has, and reads them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from reslab import __version__
from reslab.core.errors import UserError
from reslab.formats import hub_card
from reslab.formats.content import Content
from reslab.formats.exportable import Exportable
from reslab.spec.serialize import decode_network
from reslab.weights import conversion, files, saving, whole
from reslab.weights.repository import CONFIG, FORMAT, MODEL, WEIGHTS
from reslab.weights.transfer import About

ONNX, README = "model.onnx", "README.md"
KEPT = "task", "thresholds", "view", "scale", "data", "run"  # of the card of the model


def write_folder(content: Content, path: Path) -> None:
    """Write the whole repository into a new folder.

    Raises:
        UserError: The model was not trained by reslab.
    """
    source = content.source
    if source.file is None:
        raise UserError(
            "the hub has these published weights already: give a run, or the model file of a run"
        )
    if "temperature" in source.card:
        raise UserError("the repository has the model as it was trained: leave --temperature out")
    path.mkdir()
    shutil.copyfile(source.file, path / MODEL)
    _write_weights(source, path / WEIGHTS)
    config = json.dumps(_config(source), indent=1, ensure_ascii=False)
    (path / CONFIG).write_text(f"{config}\n", encoding="utf-8", newline="\n")
    (path / ONNX).write_bytes(content.onnx)
    card = hub_card.readme(source, any_size=not content.form.fixed_size)
    (path / README).write_text(card, encoding="utf-8", newline="\n")


def _write_weights(source: Exportable, path: Path) -> None:
    """Write the weights under reslab's names, and compare the file with the model."""
    assert source.file is not None
    network = decode_network(source.card["network"])
    opened = conversion.open_file(source.file, network)
    info = About(network, None, tuple(source.card["classes"]))
    note = saving.make_note(info, "reslab")
    saving.write_weights(path, opened.layers, opened.arrays, "reslab", note)
    written = files.read(path).arrays
    equal = (n in written and np.array_equal(written[n], a) for n, a in opened.arrays.items())
    if not all(equal):
        raise UserError(f"{path.name} does not hold the weights of {source.file}")


def _config(source: Exportable) -> dict[str, Any]:
    assert source.file is not None
    card = source.card
    mean, std = whole.normalization(source.file)
    if mean is None or std is None:
        raise UserError(f"{source.file} does not say how its images are normalised")
    return {
        "reslab": FORMAT,
        "library": f"reslab {__version__}",
        "classes": list(card["classes"]),
        "image_shape": list(card["image_shape"]),
        "normalization": {"mean": mean.tolist(), "std": std.tolist()},
        **{name: card[name] for name in KEPT if card.get(name) is not None},
        "network": card["network"],
    }
