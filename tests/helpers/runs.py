"""Run folders with random numbers, as input for tests of the report."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reslab import zoo
from reslab.evaluation.metrics import classification_metrics, sample_mistakes
from reslab.runs.run import Run
from reslab.spec import summary
from reslab.spec.serialize import encode_network

FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
CHARACTERS = list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
SIMILAR = {"Shirt": ["T-shirt/top", "Pullover", "Coat"], "Sneaker": ["Ankle boot", "Sandal"]} | {
    a: [b, a.swapcase()] for a, b in zip("0OoIl1Ssc5xXzZvVwW", "OoO1I7SsCS88Zz2uuv", strict=True)
}


def make_run(
    path: Path,
    network: str = "resnet20",
    data: str = "fashion-mnist",
    classes: Sequence[str] = FASHION,
    *,
    epochs: int = 6,
    error: float = 0.09,
    n: int = 600,
    seed: int = 0,
    status: str = "done",
    evaluated: bool = True,
    **info: Any,
) -> Run:
    """Write a run with a final validation error near `error` and an evaluation of `n` images."""
    rng = np.random.default_rng(seed)
    net = zoo.network(network)
    rows, errors = _log(rng, epochs, error, len(classes))
    run = Run.create(
        path,
        {
            "name": path.name,
            "command": f"reslab train {network} --data {data} --recipe quick --epochs {epochs}",
            "network": encode_network(net),
            "recipe": _recipe(epochs),
            "data": _data(data, classes, n, net.input_shape),
            "seed": seed,
            "precision": "float32",
            "backend": "torch",
            "versions": {"reslab": "0.1.0", "keras": "3.15.1", "torch": "2.13.0", "numpy": "2.4.6"},
            "commit": "1f3c9a7e5d2b4c6f8a0912345678abcdef012345",
            "machine": {
                "cpu": "Example CPU @ 2.60 GHz",
                "cores": 2,
                "memory_gib": 8,
                "gpu": None,
                "os": "Linux 6.1",
            },
            "started": "2026-11-24T09:12:30+00:00",
            "finished": "2026-11-24T09:20:11+00:00" if status != "running" else None,
            "status": status,
            "params": summary.counts(net).trainable_params,
            "multiply_adds": summary.counts(net).multiply_adds,
            "chosen_epoch": int(np.argmin(errors)) + 1 if status == "done" else None,
            **info,
        },
    )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (path / "log.jsonl").write_text(text, encoding="utf-8")
    if evaluated:
        evaluation = _evaluation(rng, data, classes, n, error, path)
        (path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    return run


def _log(
    rng: np.random.Generator, epochs: int, error: float, k: int
) -> tuple[list[dict[str, Any]], list[float]]:
    per_epoch, rows, errors = 400, [], []
    every = 20

    def at(epoch: float, final: float, start: float) -> float:
        return final + (start - final) * math.exp(-5 * epoch / epochs) + 0.02 * math.exp(-epoch)

    for step in range(every, epochs * per_epoch + 1, every):
        epoch = step / per_epoch
        done = epoch / epochs
        rate = 0.4 * (0.04 + 0.96 * done / 0.25 if done < 0.25 else (1 - done) / 0.75)
        loss = at(epoch, error * 2, math.log(k)) * rng.normal(1, 0.06)
        step_error = min(1, at(epoch, error * 0.7, 1 - 1 / k) * rng.normal(1, 0.08))
        row = {"kind": "steps", "step": step, "epoch": epoch, "loss": loss, "error": step_error}
        rows.append(row | {"rate": rate, "images_per_second": float(rng.normal(320, 9))})
        if step % per_epoch == 0:
            errors.append(at(epoch, error, 1 - 1 / k) * rng.normal(1, 0.04))
            rows.append(
                {
                    "kind": "epoch",
                    "epoch": step // per_epoch,
                    "step": step,
                    "train_loss": at(epoch - 0.3, error * 2, math.log(k)),
                    "train_error": at(epoch - 0.3, error * 0.7, 1 - 1 / k),
                    "val_loss": at(epoch, error * 3, math.log(k)) * rng.normal(1, 0.05),
                    "val_error": errors[-1],
                    "rate": rate,
                    "seconds": float(rng.normal(76, 2)),
                    "images_per_second": float(rng.normal(320, 5)),
                }
            )
    rows.append({"kind": "note", "text": "resumed at step 400"})
    return rows, errors


def _recipe(epochs: int) -> dict[str, Any]:
    from dataclasses import asdict

    from reslab.runs.papers import RECIPES

    return asdict(RECIPES["quick"].lasting(epochs))


def _data(
    name: str, classes: Sequence[str], n: int, shape: tuple[int | None, int | None, int]
) -> dict[str, Any]:
    return {
        "name": name,
        "source": name,
        "classes": list(classes),
        "image_shape": list(shape),
        "checksum": "9f8b1d" + 29 * "e0",
        "counts": {"train": 54_000, "validation": 6_000, "test": n},
        "facts": {
            "split": "stratified, seed 0",
            "images": {
                "train": dict.fromkeys(classes, 5400),
                "validation": dict.fromkeys(classes, 600),
            },
            "families": {"train": ["Sans", "Serif"], "test": ["Mono"]},
            "skipped": [{"file": "coat/broken.png", "why": "truncated"}],
        },
        "provenance": {"source": name, "validation": 0.1, "seed": 0},
    }


def _evaluation(
    rng: np.random.Generator, data: str, classes: Sequence[str], n: int, error: float, path: Path
) -> dict[str, Any]:
    k = len(classes)
    labels = rng.permutation(np.arange(n) % k)
    scores = rng.normal(0, 1, (n, k))
    scores[np.arange(n), labels] += 6.0 + rng.normal(0, 1.0, n)
    error_factor = np.array([2.5 if c in SIMILAR else 0.6 for c in classes])[labels]
    for i in np.flatnonzero(rng.random(n) < error * error_factor):
        similar = [classes.index(c) for c in SIMILAR.get(classes[labels[i]], []) if c in classes]
        other = int(rng.choice(similar)) if similar else int(rng.integers(k))
        scores[i, other] += rng.uniform(3, 10)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    mistakes = [
        {
            "index": int(i),
            "file": None,
            "true": classes[labels[i]],
            "predicted": classes[int(probabilities[i].argmax())],
            "confidence": float(probabilities[i].max()),
            "png": picture(classes[labels[i]], rng),
        }
        for i in sample_mistakes(probabilities, labels, 32)
    ]
    return {
        "split": "test",
        "data": data,
        **classification_metrics(probabilities, labels, classes),
        "mistakes": mistakes,
        "when": "2026-11-24T09:20:10+00:00",
        "command": f"reslab evaluate runs/{path.name}",
    }


def add_details(run: Run, files: bool = False, images: int = 120) -> Run:
    """Give a run of `make_run` what the report shows of single images, from random features."""
    from reslab.data import ArraySplit
    from reslab.evaluation import temperature
    from reslab.evaluation.examples import examples
    from reslab.evaluation.feature_map import feature_map

    rng = np.random.default_rng(0)
    path = run.path / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    classes = evaluation["classes"]
    k = len(classes)
    labels = np.arange(images) % k
    scores = rng.normal(0, 1, (images, k))
    scores[np.arange(images), labels] += 2.5
    probabilities = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    names = [f"{classes[c]}/{i:04d}.png" for i, c in enumerate(labels)] if files else None
    pixels = rng.integers(0, 256, (images, 12, 12, 3)).astype(np.uint8)
    split = ArraySplit(pixels, labels.astype(np.int32), np.arange(images), names)
    features = np.eye(k)[labels] @ rng.normal(0, 4, (k, 16)) + rng.normal(0, 1, (images, 16))
    positions = np.arange(images)
    rows = examples(split, classes, probabilities, positions, features)["classes"]
    doubtful = [row for each in rows for row in each["doubtful"]][:3]
    pair = {
        "split": "test",
        "index": 3,
        "file": None,
        "true": classes[0],
        "png": rows[0]["typical"][0]["png"],
    }
    evaluation |= {
        "examples": {"images": images, "of": 2 * images, "classes": rows},
        "map": feature_map(split, probabilities, positions, features),
        "temperature": temperature.record(probabilities, labels, probabilities, labels),
        "suspects": {
            "method": "confident learning",
            "parts": [{"split": "test", "n": images, "of": images, "wrong": 9, "sure": 5}],
            "suspects": [{"split": "test", "quality": 0.02, **row} for row in doubtful],
        },
        "near_duplicates": {
            "images": images,
            "of": 600,
            "others": 50,
            "others_of": 60,
            "count": 14,
            "differ": 1,
            "pairs": [
                {"bits": 4, "test": pair, "other": {**pair, "split": "train", "true": classes[1]}}
            ],
        },
    }
    path.write_text(json.dumps(evaluation), encoding="utf-8")
    return run


def picture(name: str, rng: np.random.Generator, size: int = 28) -> str:
    """Draw a character, or the first letter of a name. Returns a PNG as base64."""
    image = Image.new("L", (size, size), 0)
    font = ImageFont.load_default(size=int(rng.integers(17, 25)))
    position = (size / 2 + float(rng.normal(0, 1.5)), size / 2)
    ImageDraw.Draw(image).text(position, name[0], fill=255, font=font, anchor="mm")
    image = image.rotate(float(rng.normal(0, 8)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
