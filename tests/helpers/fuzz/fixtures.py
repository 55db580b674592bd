"""The files that are damaged: small ones of every kind, made once for a run of the fuzzer."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from PIL import Image, features

from reslab.core.files import write_arrays
from reslab.evaluation.multilabel_metrics import multilabel_metrics
from reslab.models import saved
from reslab.runs.recipe import Recipe, to_json
from reslab.runs.run import Run
from reslab.spec.serialize import encode_network
from reslab.weights import files as weight_files
from tests.helpers import tiny
from tests.helpers.runs import add_details

GOLDEN = Path(__file__).parents[2] / "golden" / "before_packages"
PICTURES = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF"}
PICTURES |= {"avif": "AVIF"} if features.check("avif") else {}
PICTURES |= {"heic": "HEIF"} if find_spec("pillow_heif") else {}
PARQUET = find_spec("pyarrow") is not None
LABELS = "left", "middle", "right"


def make(root: Path) -> None:
    """Write all files into a folder."""
    for name in ("run", "interrupted", "studies"):
        shutil.copytree(GOLDEN / name, root / name)
    _complete_run(root / "run")
    _run_of_several_labels(root)
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
    add_details(Run.open(run), images=24)
    info = json.loads((run / "run.json").read_text())
    shared = {key: info[key] for key in ("network", "data", "backend")}
    for key in ("seeds", "folds"):
        content: dict[str, Any] = {"format": 1, **shared, "options": {}, "seed": 0, key: [0, 1]}
        (run.parent / key).mkdir()
        (run.parent / key / f"{key}.json").write_text(json.dumps(content))


def _run_of_several_labels(root: Path) -> None:
    run = shutil.copytree(root / "run", root / "tags")
    info = json.loads((run / "run.json").read_text())
    thresholds = {"thresholds": [0.5, 0.25, 0.75], "thresholds_chosen": [LABELS[0]]}
    info |= {"task": "multilabel", **thresholds}
    info["data"] |= {"classes": LABELS, "facts": {"labels": "several per image: 3 columns"}}
    (run / "run.json").write_text(json.dumps(info))
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, (24, 3)), rng.random((24, 3))
    old = json.loads((run / "evaluation.json").read_text())
    result = multilabel_metrics(probabilities, labels, LABELS, thresholds["thresholds"])
    kept = ("split", "data", "checksum", "when", "command", "readings", "first_read")
    result |= {key: old[key] for key in kept}
    more = {"class": "left", "labels": ["left"], "true": "left", "predicted": "no left"}
    result["mistakes"] = [{**each, **more} for each in old["mistakes"][:3]]
    (run / "evaluation.json").write_text(json.dumps(result))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "epoch":
            line["val_mean_average_precision"] = 0.75
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    card = {**saved.read_card(run / "model.keras"), **thresholds, "classes": LABELS}
    _with_card(run / "model.keras", {**card, "task": "multilabel"})


def _with_card(path: Path, card: dict[str, Any]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[saved.CARD] = json.dumps(card).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


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
    if "heic" in PICTURES:
        import pillow_heif

        pillow_heif.register_heif_opener()
    for suffix, kind in PICTURES.items():
        image.save(root / f"picture.{suffix}", kind)
    files = [f"pictures/{name}/{i}.png" for name in "ab" for i in range(8)]
    table = ["file,label,part", *(f"{each},{each[9]},train" for each in files)]
    (root / "table.csv").write_text("\n".join(table) + "\n")
    tags = [
        "file,tags",
        *(f"{each},{'|'.join(LABELS[i % 2 : i % 3])}" for i, each in enumerate(files)),
    ]
    (root / "tags.csv").write_text("\n".join(tags) + "\n")
    columns = ["file," + ",".join(LABELS)]
    columns += [f"{each},{i % 2},{i % 3 % 2},{int(i > 8)}" for i, each in enumerate(files)]
    (root / "columns.csv").write_text("\n".join(columns) + "\n")
    if PARQUET:
        _parquet(root, files)


def _parquet(root: Path, files: list[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    labels = [each[9] for each in files]
    lists = [list(LABELS[i % 2 : i % 4]) for i in range(len(files))]
    parquet.write_table(pa.table({"file": files, "label": labels}), root / "table.parquet")
    parquet.write_table(pa.table({"file": files, "tags": lists}), root / "tags.parquet")


def _weights(root: Path) -> None:
    shutil.copy(GOLDEN / "flat.keras", root / "flat.keras")
    contents = weight_files.read(root / "flat.keras")
    for name in ("w.safetensors", "w.pth", "w.weights.h5"):
        weight_files.write(root / name, contents.arrays, {"network": encode_network(tiny.NETWORK)})
    weight_files.write(root / "w.h5", contents.arrays, {})
    _trainers(root)
    _sharded(root / "sharded", contents.arrays)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")])
    model.save(root / "old.h5")


def _trainers(root: Path) -> None:
    """Checkpoints as Lightning and timm write them."""
    state = {"conv.weight": torch.ones(2, 1, 3, 3), "fc.weight": torch.zeros(3, 2)}
    lightning = {f"model.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": lightning, "epoch": 3, "hyper_parameters": {}}, root / "w.ckpt")
    torch.save({"arch": "x", "state_dict": state, "state_dict_ema": state}, root / "w.pth.tar")
    torch.save(state, root / "old.pth", _use_new_zipfile_serialization=False)


def _sharded(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    folder.mkdir()
    names = sorted(arrays)
    index = {}
    for i in range(2):
        part = f"model-{i + 1:05}-of-00002.safetensors"
        write_arrays(folder / part, {name: arrays[name] for name in names[i::2]}, {})
        index |= dict.fromkeys(names[i::2], part)
    text = json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)
