"""SavedModel and LiteRT: written by TensorFlow in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import UserError, one_line
from reslab.engines import opening
from reslab.engines.exported import CARD
from reslab.engines.graph import Graph
from reslab.formats.content import Content
from reslab.models import saved

SECONDS = 1800  # that the process may take


def write_saved_model(content: Content, path: Path) -> None:
    """Write a SavedModel with the signatures `serving_default`, `view` and `network`."""
    _write("saved_model", content, path)
    extra = path / "assets.extra"
    extra.mkdir()
    (extra / opening.CARD_FILE).write_text(content.metadata[CARD], encoding="utf-8")


def write_litert(content: Content, path: Path) -> None:
    """Write a LiteRT file; the card and the labels are files in it, as LiteRT's metadata are."""
    _write("litert", content, path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(opening.CARD_FILE, content.metadata[CARD])
        file.writestr("labels.txt", "".join(f"{name}\n" for name in content.card["classes"]))


def _write(kind: str, content: Content, path: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as folder:
        model, view = Path(folder) / "model.keras", Path(folder) / "view.npz"
        saved.save(content.source.model, model, {})
        _write_view(content.view, view)
        command = [sys.executable, "-m", "reslab.formats.tensorflow_child"]
        command += [kind, str(model), str(view), str(path)]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            minutes = SECONDS // 60
            raise UserError(f"TensorFlow took more than {minutes} minutes to write it") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise UserError(f"TensorFlow cannot write this model: {one_line(lines[-1])}")


def _write_view(view: Graph, path: Path) -> None:
    plan = {
        "shape": view.inputs["images"],
        "constants": list(view.constants),
        "ops": [
            {
                "kind": op.kind,
                "inputs": op.inputs,
                "output": op.output,
                "attributes": dict(op.attributes),
            }
            for op in view.ops
        ],
    }
    arrays: dict[str, Any] = {"plan": np.array(json.dumps(plan)), **view.constants}
    np.savez(path, **arrays)
