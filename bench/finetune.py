"""Fine-tuning against training from scratch, on few images: Fashion-MNIST's last four classes.

    python bench/finetune.py OUT.json tune      # rates, on validation images alone
    python bench/finetune.py OUT.json judge     # five draws of images; each test set read once

A ResNet-20 learns the first six classes (3,000 images each, one epoch of `quick`). Then 25 images
of each of the other four are drawn, and the same network, the same images, seeds and number of
steps are given to every way of training. All runs are listed, in the order they were made.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import reslab
from reslab.data import load
from reslab.data.base import ArraySplit, Data
from reslab.machine import machine, versions

GIVEN, NEW = range(6), range(6, 10)
EACH, VALIDATION, EPOCHS, BATCH = 25, 50, 30, 20  # images of a class; 150 steps
TUNING_DRAW, DRAWS = 100, range(5)
SCRATCH: list[dict[str, Any]] = [{"rate": rate} for rate in (0.05, 0.1, 0.2, 0.4)]
FINE: list[dict[str, Any]] = [
    {"rate": 0.02},
    {"rate": 0.05},
    {"rate": 0.1},
    {"rate": 0.05, "row_decay": 1.0},
    {"rate": 0.05, "row_decay": 0.5},
    {"rate": 0.05, "head_first": 0.0},
]


def main(out: Path, phase: str) -> None:
    result = json.loads(out.read_text()) if out.exists() else {}
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
            rows.judge()


class Bench:
    """Runs, and the file in which every one of them is listed."""

    def __init__(self, folder: Path, result: dict[str, Any], out: Path) -> None:
        self.folder, self.result, self.out = folder, result, out
        self.all = load("fashion-mnist", validation=0)
        self.weights = folder / "pretrained"

    def pretrain(self) -> None:
        data = few(self.all, GIVEN, 3000, 100, draw=0, test=False)
        reslab.train("resnet20", data, "quick", epochs=1, out=self.weights)
        error = min(line["val_error"] for line in reslab.Run.open(self.weights).log("epoch"))
        self.result["pretraining"] = {"validation_error": error, "images": len(data.train)}

    def tune(self) -> None:
        for way, candidates in (("scratch", SCRATCH), ("fine-tune", FINE)):
            for changes in candidates:
                self.run(way, changes, TUNING_DRAW, test=False)

    def judge(self) -> None:
        chosen = {way: self.best(way) for way in ("scratch", "fine-tune")}
        for draw in DRAWS:
            self.run("scratch", chosen["scratch"], draw, test=True)
            self.run("fine-tune", chosen["fine-tune"], draw, test=True)
            self.run("fine-tune", chosen["fine-tune"], draw, test=True, freeze_bn=True)
            self.run("fine-tune", chosen["fine-tune"], draw, test=True, recalibrate_bn=True)

    def best(self, way: str) -> dict[str, Any]:
        """Tuned on validation images; the first of equals."""
        tuned = [r for r in self.result["runs"] if r["way"] == way and r["draw"] == TUNING_DRAW]
        return min(tuned, key=lambda r: r["validation_error"])["changes"]

    def run(self, way: str, changes: dict, draw: int, test: bool, **how: Any) -> None:
        data = few(self.all, NEW, EACH, VALIDATION, draw, test)
        out = self.folder / f"run-{len(self.result['runs'])}"
        weights = self.weights if way == "fine-tune" else None
        common: dict[str, Any] = {"epochs": EPOCHS, "batch": BATCH, "seed": draw, "out": out}
        run = reslab.train("resnet20", data, weights=weights, changes=changes, **common, **how)
        epochs = run.log("epoch")
        row = {"way": way, "changes": changes, **how, "draw": draw, "steps": epochs[-1]["step"]}
        row["recipe"] = run.info["recipe"]["name"]
        row["validation_error"] = min(line["val_error"] for line in epochs)
        row["seconds"] = round(sum(line["seconds"] for line in epochs), 1)
        if test and run.evaluation:
            row["test_error"] = run.evaluation["top1_error"]
        self.result["runs"].append(row)
        self.out.write_text(json.dumps(self.result, indent=1) + "\n")
        print(row, flush=True)


def few(data: Data, classes: range, each: int, validation: int, draw: int, test: bool) -> Data:
    """So many training and validation images of some classes, drawn anew, and all of their test
    images."""
    rng = np.random.default_rng(draw)
    train, held = [], []
    for label in classes:
        mine = rng.permutation(np.flatnonzero(data.train.labels == label))
        train.append(mine[:each])
        held.append(mine[each : each + validation])
    assert data.test is not None
    theirs = np.flatnonzero(np.isin(data.test.labels, classes))

    def part(split: Any, positions: np.ndarray) -> ArraySplit:
        labels = split.labels[positions] - classes.start
        return ArraySplit.of(split.images(positions), labels)

    name = f"fashion-mnist-{classes.start}-{classes.stop - 1}"
    return Data(
        name=name,
        source=name,
        classes=data.classes[classes.start : classes.stop],
        image_shape=data.image_shape,
        train=part(data.train, np.concatenate(train)),
        validation=part(data.train, np.concatenate(held)),
        test=part(data.test, theirs) if test else None,
        checksum=f"{data.checksum}-{draw}-{each}",
        facts={"mirrors": True},
        provenance={},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
