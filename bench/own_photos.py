"""Small folders of photographs, trained with the command that a user would type.

    python bench/own_photos.py OUT.json

The folders hold JPEG files of different sizes: crops of photographs that scikit-image ships
(`pip install scikit-image`), with other brightness and saturation, half of them mirrored. `photos`
has three classes of 60 and two wrong labels; `textures` has three classes of 60 that differ by
their texture alone; `twenty` has two classes of ten.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from small_sets import photographs

from reslab.core.environment import machine, versions

FOLDERS = {
    "photos": ({"cat": "chelsea.png", "coffee": "coffee.png", "engine": "motorcycle_left.png"}, 60),
    "textures": ({"brick": "brick.png", "grass": "grass.png", "gravel": "gravel.png"}, 60),
    "twenty": ({"cat": "chelsea.png", "coffee": "coffee.png"}, 10),
}
WRONG = {"photos": 2}  # labels
AS_WRITTEN = ("--batch", "128", "--set", "rate=0.4", "--epochs", "5")  # without the rule
TRAININGS = (
    *(("photos", options) for options in ((), ("--epochs", "10"), AS_WRITTEN)),
    ("photos", ("--epochs", "10", "--set", "rate=0.048")),  # twice the rate of the rule
    ("photos", ("--set", "rate=0.1")),
    *(("textures", options) for options in ((), AS_WRITTEN)),
    ("twenty", ()),
)


def make(root: Path, files: dict[str, str], each: int, wrong: int, seed: int) -> None:
    """Write the class folders; `wrong` files lie in the folder of the next class."""
    from PIL import Image, ImageEnhance

    rng, number = np.random.default_rng(seed), 0
    for name, file in files.items():
        (root / name).mkdir(parents=True)
        with Image.open(photographs() / file) as opened:
            photograph = opened.convert("RGB")
        for _ in range(each):
            high = int(rng.integers(90, min(photograph.size) * 2 // 3))
            wide = min(int(high * rng.uniform(1, 1.33)), photograph.width)
            left = int(rng.integers(0, photograph.width - wide + 1))
            top = int(rng.integers(0, photograph.height - high + 1))
            crop = photograph.crop((left, top, left + wide, top + high))
            crop = ImageEnhance.Brightness(crop).enhance(float(rng.uniform(0.6, 1.4)))
            crop = ImageEnhance.Color(crop).enhance(float(rng.uniform(0.2, 1.3)))
            if rng.random() < 0.5:
                crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            size = int(wide * rng.uniform(1, 3)), int(high * rng.uniform(1, 3))
            number += 1
            crop.resize(size).save(root / name / f"IMG_2026{number:04}.jpg", quality=85)
    names = list(files)
    for i in range(wrong):
        source, target = names[i % len(names)], names[(i + 1) % len(names)]
        file_ = sorted((root / source).iterdir())[5 + i]
        file_.rename(root / target / file_.name)


def train(options: tuple[str, ...], data: Path) -> dict[str, Any]:
    """Run the command in this process, and return what its run measured."""
    from reslab.cli.main import main as reslab
    from reslab.evaluation.cautions import cautions
    from reslab.runs.run import Run

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = ["train", "resnet18", "--data", str(data), "--size", "64", *options]
        try:
            reslab([*command, "--out", str(out)])
        except SystemExit as end:
            if end.code not in (None, 0):
                return {"failed": Run.open(out).info["why"]}
        run = Run.open(out)
        evaluation = run.evaluation
        assert evaluation is not None
        return {
            "recipe": {name: run.info["recipe"][name] for name in ("batch", "rate", "epochs")},
            "steps": run.log("epoch")[-1]["step"],
            "images": run.info["data"]["counts"],
            "error": evaluation["top1_error"],
            "cautions": cautions(run.info, evaluation, run.log()),
        }


def main(out: Path) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (files, each)) in enumerate(FOLDERS.items()):
            make(Path(folder) / name, files, each, WRONG.get(name, 0), 5 * (number == 2))
        for name, options in TRAININGS:
            measured = train(options, Path(folder) / name)
            rows.append({"folder": name, "options": " ".join(options), **measured})
            print(rows[-1], flush=True)
            result = {"versions": versions(), "machine": machine("torch"), "trainings": rows}
            out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "torch")
    main(Path(sys.argv[1]))
