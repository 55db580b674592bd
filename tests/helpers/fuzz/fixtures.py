"""The files that are damaged: small ones of every kind, made once for a run of the fuzzer."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from reslab.core.files import write_arrays
from reslab.runs.recipe import Recipe, to_json
from reslab.spec.serialize import encode_network
from reslab.weights import files as weight_files
from tests.helpers import tiny

GOLDEN = Path(__file__).parents[2] / "golden" / "before_packages"
PICTURES = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF"}


def make(root: Path) -> None:
    """Write all files into a folder."""
    for name in ("run", "interrupted", "studies"):
        shutil.copytree(GOLDEN / name, root / name)
    _complete_run(root / "run")
    _recipes(root)
    _images(root)
    _weights(root)
    (root / "net.json").write_text(json.dumps(encode_network(tiny.NETWORK)))


def _complete_run(run: Path) -> None:
    """The files of a run that older versions did not write."""
    digests = np.arange(5, dtype=np.uint64)
    write_arrays(
        run / "training-images.safetensors",
        {"trained": digests, "ancestors": digests[:2]},
        {"unknown": ["a"]},
    )
    evaluation = json.loads((run / "evaluation.json").read_text())
    mistakes = [{**each, "split": "train"} for each in evaluation["mistakes"][:3]]
    part = {"split": "train", "n": 20, "of": 30, "wrong": 4, "sure": 3}
    suspects = {"sure": 0.5, "parts": [part], "suspects": mistakes}
    (run / "suspects.json").write_text(json.dumps(suspects))
    info = json.loads((run / "run.json").read_text())
    shared = {key: info[key] for key in ("network", "data", "backend")}
    for key in ("seeds", "folds"):
        content: dict[str, Any] = {"format": 1, **shared, "options": {}, "seed": 0, key: [0, 1]}
        (run.parent / key).mkdir()
        (run.parent / key / f"{key}.json").write_text(json.dumps(content))


def _recipes(root: Path) -> None:
    recipe = Recipe("r", epochs=3, drops=(0.5, 0.75), augment=("flip",), weight_decay=1e-4)
    unread = ("name", "steps", "peak", "patience", "warmup_rate", "warmup_layers", "stop_after")
    fields = {key: value for key, value in to_json(recipe).items() if key not in unread}
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    (root / "recipe.toml").write_text("\n".join(lines))


def _images(root: Path) -> None:
    tiny.folder(root / "idx", train=60, test=12)
    (root / "gz").mkdir()
    for path in (root / "idx").iterdir():
        (root / "gz" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 10, (3, 3073), dtype=np.uint8)
    (root / "cifar.bin").write_bytes(rows.tobytes())
    for name in "ab":
        (root / "pictures" / name).mkdir(parents=True)
        for i in range(8):
            image = Image.fromarray(rng.integers(0, 255, (12, 10, 3), dtype=np.uint8))
            image.save(root / "pictures" / name / f"{i}.png")
    for suffix, kind in PICTURES.items():
        image.save(root / f"picture.{suffix}", kind)
    files = [f"pictures/{name}/{i}.png" for name in "ab" for i in range(8)]
    table = ["file,label,part", *(f"{each},{each[9]},train" for each in files)]
    (root / "table.csv").write_text("\n".join(table) + "\n")


def _weights(root: Path) -> None:
    shutil.copy(GOLDEN / "flat.keras", root / "flat.keras")
    contents = weight_files.read(root / "flat.keras")
    for name in ("w.safetensors", "w.pth", "w.weights.h5"):
        weight_files.write(root / name, contents.arrays, {"network": encode_network(tiny.NETWORK)})
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")])
    model.save(root / "old.h5")
