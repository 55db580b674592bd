"""The sizes of a training that the recipes `quick` and `fine-tune` choose for small data sets.

    python bench/small_sets.py OUT.json tune quick        # candidates, compared on tuning images
    python bench/small_sets.py OUT.json tune fine-tune
    python bench/small_sets.py OUT.json test              # the rule, and no rule, on test images

Three kinds of images: Fashion-MNIST; `glyphs` (20 capitals); and photographs: random crops of 14
photographs that scikit-image ships (`pip install scikit-image`), where the network tells from which
photograph a crop is. The left half of a photograph gives training images, the next 22 % tuning
images, the rest test images.

A training gets N images, of which a tenth choose the epoch, as in a folder of a user. The chosen
epoch is then evaluated on up to 2,000 tuning images, which the training has not seen. `tune` never
reads a test image. OUT.json lists every training in its order; a second start continues.

Fine-tuning starts from a network that was trained on other classes of the same kind.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 1  # of each of PROCESSES
PROCESSES = int(os.environ.get("PROCESSES", "2"))
SIZES = {
    "fashion-mnist": (100, 300, 1000, 5000),
    "glyphs": (100, 300, 1000, 3687),  # all that are not for tuning
    "photographs": (100, 300),  # ResNet-18 at 64 pixels takes four times as long
}
LARGEST_FINE_TUNING = 1000  # images: from about 1,500 on, the rule leaves it as it is written
TUNING = 2000  # images at the most
KINDS = ("fashion-mnist", "glyphs", "photographs")
FINE_TUNED = "fashion-mnist", "glyphs"
NETWORKS = {"fashion-mnist": "resnet20", "glyphs": "resnet20", "photographs": "resnet18"}
CLASSES = {"fashion-mnist": range(10), "glyphs": range(10, 30), "photographs": range(14)}
# Fine-tuning: the classes of the given weights, and the new ones.
GIVEN = {"fashion-mnist": range(6), "glyphs": range(36), "photographs": range(7)}
NEW = {"fashion-mnist": range(6, 10), "glyphs": range(36, 62), "photographs": range(7, 14)}
PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png"),
    *("motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
PARTS = {"train": (0.0, 0.5), "tuning": (0.5, 0.72), "test": (0.72, 1.0)}  # from left to right
SIDE = 64  # of a photograph's image, in pixels
DRAWS = (0, 1)  # of the images and the seed, for `test`

Job = dict[str, Any]


# Images ------------------------------------------------------------------------------------------


@cache
def pool(kind: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """All images of a kind and a part ("train", "tuning", "test"), and their labels."""
    if kind == "photographs":
        return crops(part)
    from reslab.data import load

    data = load(kind, validation=0)
    split = data.test if part == "test" else data.train
    if part != "test":  # tuning images are a part of the training part
        order = np.random.default_rng(0).permutation(len(split))
        split = split.take(np.sort(order[:10_000] if part == "tuning" else order[10_000:]))
    return split.images(slice(None)), split.labels


def photographs() -> Path:
    """The folder of scikit-image's photographs."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the photographs are in scikit-image: pip install scikit-image")
    return Path(spec.submodule_search_locations[0]) / "data"


def crops(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Square crops of 48 to 96 pixels, scaled to SIDE: 1,000 of each photograph."""
    from PIL import Image

    rng = np.random.default_rng(list(PARTS).index(part))
    images, labels = [], []
    for label, name in enumerate(PHOTOGRAPHS):
        with Image.open(photographs() / name) as file:
            picture = file.convert("RGB")
        left, right = (round(edge * picture.width) for edge in PARTS[part])
        for _ in range(1000):
            side = int(rng.integers(48, min(96, right - left) + 1))
            x, y = rng.integers(left, right - side + 1), rng.integers(0, picture.height - side + 1)
            crop = picture.crop((x, y, x + side, y + side))
            images.append(np.asarray(crop.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
            labels.append(label)
    return np.stack(images), np.array(labels)


def draw(kind: str, part: str, classes: range, count: int, seed: int) -> Any:
    """`count` images of these classes, as evenly as possible, as a split with labels from 0."""
    from reslab.data.dataset import ArraySplit

    images, labels = pool(kind, part)
    rng = np.random.default_rng([seed, count])
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in classes]
    rows = [np.stack([m[i] for m in members if i < len(m)]) for i in range(max(map(len, members)))]
    chosen = np.concatenate([rng.permutation(row) for row in rows])[:count]
    return ArraySplit.of(images[chosen], labels[chosen] - classes.start)


def data_set(kind: str, classes: range, count: int, seed: int, part: str) -> tuple[Any, Any]:
    """The data of a training on `count` images, and the images that compare the candidates."""
    from reslab.data import Data

    split = draw(kind, "train", classes, count, seed)
    validation = max(len(classes), count // 10)
    order = np.arange(len(split))
    name = f"{kind}-{count}"
    data = Data(
        name=name,
        source=name,
        classes=tuple(f"class {label}" for label in classes),
        image_shape=split.image_shape,
        train=split.take(order[validation:]),
        validation=split.take(order[:validation]),
        test=None,
        checksum=f"{name}-{classes}-{seed}",
        facts={"mirrors": kind != "glyphs"},
        provenance={},
    )
    return data, replace(data, test=draw(kind, part, classes, TUNING, 0))


# Trainings ---------------------------------------------------------------------------------------


def run(job: Job) -> Job:
    """Train as the job says; return it with the errors."""
    import reslab
    from reslab.evaluation import evaluation

    kind, method, images = job["kind"], job["method"], job["images"]
    classes = CLASSES[kind] if method == "quick" else NEW[kind]
    part = "test" if job["phase"] == "test" else "tuning"
    data, compared = data_set(kind, classes, images, job["draw"], part)
    with tempfile.TemporaryDirectory() as folder:
        weights = None if method == "quick" else pretrained(kind)
        try:
            trained = reslab.train(
                NETWORKS[kind],
                data,
                method,
                weights=weights,
                changes=changes(job, len(data.train)),
                seed=job["draw"],
                out=Path(folder) / "run",
            )
        except reslab.UserError as error:
            return job | {"failed": str(error).partition(":")[0]}
        epochs = trained.log("epoch")
        result = evaluation.compute(trained, compared)
    recipe = trained.info["recipe"]
    return job | {
        "recipe": {name: recipe[name] for name in ("batch", "epochs", "rate", "steps")},
        "steps": epochs[-1]["step"],
        "error": result["top1_error"]["value"],
        "compared": result["n"],
        "worst_validation_loss": max(line["val_loss"] for line in epochs),
        "seconds": round(sum(line["seconds"] for line in epochs), 1),
    }


def changes(job: Job, train: int) -> dict[str, Any]:
    """The fields of the recipe; `steps` of the job are converted to epochs."""
    candidate = dict(job["candidate"])
    if "rule" in candidate:
        return {} if candidate["rule"] == "new" else dict(OLD[job["method"]])
    candidate["batch"] = batch = min(candidate["batch"], train)
    steps_per_epoch = train // batch
    candidate["epochs"] = max(1, round(candidate.pop("steps") / steps_per_epoch))
    return candidate


OLD = {
    "quick": {"batch": 128, "rate": 0.4, "epochs": 5},
    "fine-tune": {"batch": 32, "rate": 0.05, "epochs": 10},
}


def pretrained(kind: str) -> Path:
    """The run of the given weights."""
    return Path(os.environ["SMALL_SETS_RUNS"]) / kind


def pretrain(kind: str) -> None:
    """Train on the given classes, once: 8,000 images of the training part."""
    import reslab

    if (pretrained(kind) / "model.keras").exists():
        return
    data, _ = data_set(kind, GIVEN[kind], 8000, 0, "tuning")
    values = {"batch": 64, "rate": 0.2, "epochs": 5}
    reslab.train(NETWORKS[kind], data, "quick", changes=values, out=pretrained(kind))


# Candidates --------------------------------------------------------------------------------------


LARGE = 3687  # images: this list is for so many and more
# (batch, rate, steps) by number of images. SHORT is what `--epochs 10` of a user leaves.
SHORT = [(16, rate, 60) for rate in (0.025, 0.05, 0.1, 0.2)]
LOW = [(16, 0.025, 300), (16, 0.05, 300)]
SMALL = [*LOW, (16, 0.1, 300), (16, 0.2, 300), (16, 0.4, 300), (16, 0.2, 1000), *SHORT]
QUICK = {
    100: SMALL,
    300: [*SMALL, (32, 0.2, 300)],
    1000: [(16, 0.05, 600), (16, 0.1, 600), (32, 0.1, 600), (32, 0.2, 600), (32, 0.1, 300)],
    LARGE: [(64, 0.1, 800), (64, 0.2, 800)],
}
FINE_TUNE = {
    100: [(16, 0.025, 100), (16, 0.05, 100), (16, 0.1, 100), (16, 0.05, 300), (16, 0.1, 300)],
    300: [(16, 0.025, 200), (16, 0.05, 200), (16, 0.1, 200), (16, 0.05, 600), (32, 0.1, 200)],
    1000: [(16, 0.05, 400), (32, 0.025, 400), (32, 0.05, 400), (32, 0.1, 400), (32, 0.05, 800)],
}


def candidates(method: str, images: int) -> Iterator[dict[str, Any]]:
    """All candidates of `tune` for this number of images."""
    yield {"rule": "old"}
    table = QUICK if method == "quick" else FINE_TUNE
    for batch, rate, steps in table[min(images, LARGE)]:
        yield {"batch": batch, "rate": rate, "steps": steps}


def jobs(phase: str, method: str) -> Iterator[Job]:
    for kind, images in [(name, size) for name in KINDS for size in SIZES[name]]:
        if method == "fine-tune" and (kind not in FINE_TUNED or images > LARGEST_FINE_TUNING):
            continue
        if phase == "test":
            for rule, number in itertools.product(("old", "new"), DRAWS):
                yield {"phase": phase, "method": method, "kind": kind, "images": images} | {
                    "candidate": {"rule": rule},
                    "draw": number,
                }
            continue
        for candidate in candidates(method, images):
            yield {"phase": phase, "method": method, "kind": kind, "images": images} | {
                "candidate": candidate,
                "draw": 100,
            }


def main(out: Path, phase: str, methods: list[str]) -> None:
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    os.environ.setdefault("SMALL_SETS_RUNS", str(out.with_suffix(".runs").absolute()))
    from reslab.core.environment import machine, versions

    result = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"trainings": []}
    result |= {"versions": versions(), "machine": machine("torch")}
    keys = ("phase", "method", "kind", "images", "candidate", "draw")
    done = [{key: row[key] for key in keys} for row in result["trainings"]]
    todo = [job for method in methods for job in jobs(phase, method) if job not in done]
    todo.sort(key=lambda job: job["images"])
    with multiprocessing.get_context("spawn").Pool(PROCESSES, maxtasksperchild=60) as workers:
        if "fine-tune" in methods:
            workers.map(pretrain, FINE_TUNED)
        for row in workers.imap_unordered(run, todo):
            result["trainings"].append(row)
            out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print({**row, "recipe": None}, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] or ["quick", "fine-tune"])
