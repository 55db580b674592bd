"""A model repository for Triton, OpenVINO Model Server and KServe: the format `--to triton`.

It is a folder with one model: `NAME/config.pbtxt`, `NAME/labels.txt` and `NAME/1/model.onnx`.
Source: Triton's documentation, "Model Repository" and "Model Configuration".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from reslab.core.text import printable
from reslab.formats.content import Content
from reslab.formats.whole import INPUT, MAPS, OUTPUT

CONFIG, LABELS, MODEL = "config.pbtxt", "labels.txt", "1/model.onnx"
MOST_BATCH = 32  # as in `reslab serve`


def write_repository(content: Content, path: Path) -> None:
    """Write the repository into a new folder."""
    name = model_name(content)
    model = path / name / MODEL
    model.parent.mkdir(parents=True)
    model.write_bytes(content.onnx)
    classes = [_line(each) for each in content.card["classes"]]
    labels = "".join(f"{each}\n" for each in classes)
    (path / name / LABELS).write_text(labels, encoding="utf-8", newline="\n")
    config = configuration(content, name)
    (path / name / CONFIG).write_text(config, encoding="utf-8", newline="\n")


def model_name(content: Content) -> str:
    """The name of the run or the network, in the characters that servers take."""
    run, network = content.source.card.get("run"), content.source.card.get("network")
    name = run or (network if isinstance(network, str) else content.source.model.name)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", str(name)).strip("-.") or "model"


def configuration(content: Content, name: str) -> str:
    """The text of config.pbtxt. The first dimension, the batch, is left out of the shapes."""
    height, width, channels = content.source.shape
    sides = (height, width) if content.form.fixed_size else (-1, -1)
    outputs = [_tensor(OUTPUT, "TYPE_FP32", [len(content.card["classes"])], LABELS)]
    if content.form.maps:
        outputs.append(_tensor(MAPS, "TYPE_FP32", [-1, -1, len(content.card["classes"])]))
    return (
        f"name: {json.dumps(name)}\n"
        'backend: "onnxruntime"\n'
        f"max_batch_size: {MOST_BATCH}\n"
        f"input [\n{_tensor(INPUT, 'TYPE_UINT8', [*sides, channels])}\n]\n"
        "output [\n" + ",\n".join(outputs) + "\n]\n"
        "# Requests that wait are joined while the model is busy; none waits for others.\n"
        "dynamic_batching { }\n"
    )


def _tensor(name: str, kind: str, dims: Sequence[int], labels: str = "") -> str:
    shown = ", ".join(map(str, dims))
    ending = f'\n    label_filename: "{labels}"' if labels else ""
    return f'  {{\n    name: "{name}"\n    data_type: {kind}\n    dims: [ {shown} ]{ending}\n  }}'


def _line(label: str) -> str:
    """A label on one line."""
    return " ".join(printable(str(label)).split())
