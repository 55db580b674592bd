"""Choose the values of the recipe `quick` on validation images. The test set is removed first.

    python bench/tune_quick.py OUT.json

Every candidate trains ResNet-20 on Fashion-MNIST for three epochs. OUT.json lists all candidates in
their order, with the validation error of the chosen epoch.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import reslab
from reslab.core.environment import machine, versions
from reslab.data import load

CANDIDATES: list[dict[str, object]] = [
    {"rate": 0.4, "label_smoothing": 0.0},
    {"rate": 0.2, "label_smoothing": 0.0},
    {"rate": 0.4, "label_smoothing": 0.05},
]


def main(out: Path) -> None:
    data = replace(load("fashion-mnist", validation=0.1), test=None)
    rows: list[dict[str, object]] = []
    for changes in CANDIDATES:
        with tempfile.TemporaryDirectory() as folder:
            run = reslab.train(
                "resnet20", data, "quick", changes=changes, epochs=3, out=Path(folder) / "run"
            )
            error = min(line["val_error"] for line in run.log("epoch"))
            seconds = sum(line["seconds"] for line in run.log("epoch"))
        rows.append({**changes, "validation_error": error, "seconds": round(seconds)})
        print(rows[-1], flush=True)
        result = {"versions": versions(), "machine": machine("torch"), "runs": rows}
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
