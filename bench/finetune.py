"""Fine-tuning against training from scratch, on five images of each of ten small letters.

    python bench/finetune.py OUT.json tune      # choose rates on validation images of two draws
    python bench/finetune.py OUT.json evaluate  # five draws of images; each test set is read once

A ResNet-20 is pretrained on the digits and capitals of `glyphs` (36 classes, three epochs of
`quick`). Then five images of each of ten lower-case letters are drawn. All methods train the same
network on the same images, with the same seeds and number of steps. The fonts of validation and
test do not occur in the training images. OUT.json lists all runs in their order, including those of
earlier designs (version 1 of `glyphs`, and four classes of Fashion-MNIST after the six others),
where pretrained weights did not help.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import reslab
from reslab.core.environment import machine, versions
from reslab.data import load
from reslab.data.dataset import ArraySplit, Data
from reslab.spec.catalogue import CHARACTERS

GIVEN, NEW = CHARACTERS[:36], tuple("abdeghnqrt")  # letters that look different from their capitals
PRETRAINING = 3  # epochs
EACH, VALIDATION, EPOCHS, BATCH = 5, 20, 50, 25  # images per class; 100 steps
TUNING_DRAWS, DRAWS = (100, 101), range(5)
SCRATCH: list[dict[str, Any]] = [{"rate": rate} for rate in (0.02, 0.05, 0.1, 0.2)]
FINE: list[dict[str, Any]] = [
    {"rate": rate, "row_decay": decay, "head_first": first}
    for rate in (0.05, 0.1, 0.2)
    for decay, first in ((0.7, 0.2), (1.0, 0.2), (1.0, 0.0))
]


def main(out: Path, phase: str) -> None:
    result = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    command = f"python bench/finetune.py {out} {phase}"
    result |= {"versions": versions(), "machine": machine("torch")}
    result.setdefault("runs", [])
    result["commands"] = [*result.get("commands", []), command]
    with tempfile.TemporaryDirectory() as folder:
        rows = Bench(Path(folder), result, out)
        rows.pretrain()
        if phase == "tune":
            rows.tune()
        else:
            rows.evaluate()


class Bench:
    """Runs the trainings and lists each of them in the result file."""

    def __init__(self, folder: Path, result: dict[str, Any], out: Path) -> None:
        self.folder, self.result, self.out = folder, result, out
        self.all = load("glyphs")
        self.weights = folder / "pretrained"

    def pretrain(self) -> None:
        data = few(self.all, GIVEN, 297, 20, draw=0, test=False)
        reslab.train("resnet20", data, "quick", epochs=PRETRAINING, out=self.weights)
        error = min(line["val_error"] for line in reslab.Run.open(self.weights).log("epoch"))
        self.result["pretraining"] = {"validation_error": error, "images": len(data.train)}

    def tune(self) -> None:
        for method, candidates in (("scratch", SCRATCH), ("fine-tune", FINE)):
            for changes in candidates:
                for draw in TUNING_DRAWS:
                    self.run(method, changes, draw, test=False)

    def evaluate(self) -> None:
        chosen = {method: self.best(method) for method in ("scratch", "fine-tune")}
        self.result["chosen"] = chosen
        for draw in DRAWS:
            self.run("scratch", chosen["scratch"], draw, test=True)
            self.run("fine-tune", chosen["fine-tune"], draw, test=True)
            self.run("fine-tune", chosen["fine-tune"], draw, test=True, freeze_bn=True)
            self.run("fine-tune", chosen["fine-tune"], draw, test=True, recalibrate_bn=True)

    def best(self, method: str) -> dict[str, Any]:
        """Return the changes with the lowest mean validation error; the first one in a tie."""
        tuned = [r for r in self.result["runs"] if r["way"] == method and r["draw"] in TUNING_DRAWS]

        def error(changes: dict[str, Any]) -> float:
            return sum(r["validation_error"] for r in tuned if r["changes"] == changes)

        return min((r["changes"] for r in tuned), key=error)

    def run(self, method: str, changes: dict, draw: int, test: bool, **options: Any) -> None:
        settings = {"way": method, "changes": changes, **options, "draw": draw}
        if any(
            settings.items() <= row.items()
            for row in self.result["runs"]
            if _options(row) == set(options)
        ):
            return  # measured before this command was interrupted
        data = few(self.all, NEW, EACH, VALIDATION, draw, test)
        out = self.folder / f"run-{len(self.result['runs'])}"
        weights = self.weights if method == "fine-tune" else None
        common: dict[str, Any] = {"epochs": EPOCHS, "batch": BATCH, "seed": draw, "out": out}
        try:
            run = reslab.train(
                "resnet20", data, weights=weights, changes=changes, **common, **options
            )
        except reslab.UserError as error:  # the training diverged
            self.add({**settings, "failed": str(error).partition(":")[0]})
            return
        epochs = run.log("epoch")
        row = {**settings, "steps": epochs[-1]["step"]}
        row["recipe"] = run.info["recipe"]["name"]
        row["validation_error"] = min(line["val_error"] for line in epochs)
        row["seconds"] = round(sum(line["seconds"] for line in epochs), 1)
        if test and run.evaluation:
            row["test_error"] = run.evaluation["top1_error"]
        self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        self.result["runs"].append(row)
        self.out.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")
        print(row, flush=True)


def _options(row: dict[str, Any]) -> set[str]:
    return {"freeze_bn", "recalibrate_bn"} & row.keys()


def few(
    data: Data, classes: Sequence[str], each: int, validation: int, draw: int, test: bool
) -> Data:
    """Draw training and validation images of some classes, and take all test images."""
    rng = np.random.default_rng(draw)
    numbers = [data.classes.index(name) for name in classes]

    def part(split: Any, count: int | None) -> ArraySplit:
        selected = [rng.permutation(np.flatnonzero(split.labels == n))[:count] for n in numbers]
        labels = np.repeat(np.arange(len(classes)), [len(positions) for positions in selected])
        return ArraySplit.of(split.images(np.concatenate(selected)), labels)

    name = f"glyphs-{len(classes)}"
    return Data(
        name=name,
        source=name,
        classes=tuple(classes),
        image_shape=data.image_shape,
        train=part(data.train, each),
        validation=part(data.validation, validation),
        test=part(data.test, None) if test else None,
        checksum=f"{data.checksum}-{''.join(classes)}-{draw}-{each}",
        facts={"mirrors": False},
        provenance={},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
