"""ResNet-50 inference: Keras, PyTorch, OpenVINO, ONNX Runtime and `reslab.inference`.

    KERAS_BACKEND=torch python bench/inference.py bench/results/inference.json
    KERAS_BACKEND=tensorflow python bench/inference.py bench/results/inference.json --batches 16

All contenders have the same random weights. Before any timing, their logits must agree to 1e-4 of
the largest logit. OUT.json keeps the results of every run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import Contender, Contest, Turn, add_run, format_ratio, ratio, run_metadata

OURS, STOCK, BY_HAND = "reslab.inference", "stock Keras", "PyTorch by hand"
ENGINES = {"OpenVINO": "openvino", "ONNX Runtime": "onnxruntime"}
SHAPE, CLASSES = (224, 224, 3), 1000
WARM_UP, MIN_SECONDS = 3, 0.5  # runs before a timing; seconds of one timing at least
TOLERANCE = 1e-4


def model() -> Any:
    """Return the network with the same weights in every process.

    Kernels have He's initialisation; running statistics differ from 0 and 1.
    """
    from reslab.models.build import create

    net = create("resnet50", classes=CLASSES, input_shape=SHAPE, data_format="channels_last")
    rng = np.random.default_rng(0)
    for v in net.variables:
        shape = tuple(v.shape)
        if v.name == "kernel":
            fan = np.prod(shape[:-1])
            v.assign(rng.normal(0, np.sqrt(2 / fan), shape).astype("float32"))
        elif v.name in ("gamma", "moving_variance"):
            v.assign(rng.uniform(0.5, 1.0, shape).astype("float32"))
        else:
            v.assign(rng.normal(0, 0.1, shape).astype("float32"))
    return net


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(batch, *SHAPE)).astype("float32")


def contender(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from a batch (n, 224, 224, 3) to logits (n, 1000), both NumPy."""
    import reslab

    net = model()
    if name == STOCK:
        reslab.accelerate(net, undo=True)
        return lambda x: np.asarray(net.predict_on_batch(x))
    if name == BY_HAND:
        return by_hand(net)
    return reslab.inference(net, ENGINES.get(name, "auto"))


def by_hand(net: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return hand-written PyTorch: modules, `eval`, channels last, `inference_mode`."""
    import torch
    import twins

    twin = twins.twin("resnet50", CLASSES)
    twins.load("resnet50", twin, net)
    twin = twin.eval().to(memory_format=torch.channels_last)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return twin(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()

    return run


def work(turn: Turn, name: str, batches: list[int]) -> None:
    """Prepare a contender, then time one batch size per turn."""
    run = contender(name)
    inputs = {batch: images(batch) for batch in batches}
    answers = {}
    for batch in batches:
        for _ in range(WARM_UP):
            answers[batch] = np.asarray(run(inputs[batch]))
    choices = {}
    for batch in batches if name == OURS else ():
        run(inputs[batch])
        times = run.seconds.get((batch, *SHAPE), {})  # type: ignore[attr-defined]
        choices[batch] = {"engine": run.engine, "compared": times}  # type: ignore[attr-defined]
    turn.ready({"answers": answers, "chose": choices})
    while batch := turn.wait():
        run(inputs[batch])  # starts the threads and fills the caches
        n, start = 0, time.perf_counter()
        while (took := time.perf_counter() - start) < MIN_SECONDS or n == 0:
            run(inputs[batch])
            n += 1
        turn.took(took / n)


def measure(batches: list[int], rounds: int, backend: str) -> list[dict[str, Any]]:
    """Compare all contenders and return a row per batch size."""
    hand = [BY_HAND] if backend == "torch" else []
    names = [STOCK, *hand, *ENGINES, OURS]
    contest = Contest({name: Contender(work, (name, batches)) for name in names})
    rows = []
    for batch in batches:
        answers = {name: contest.setup[name]["answers"][batch] for name in names}
        scale = np.abs(answers[STOCK]).max()
        differences = {
            k: float(np.abs(v - answers[STOCK]).max() / scale) for k, v in answers.items()
        }
        if not max(differences.values()) <= TOLERANCE:
            raise SystemExit(f"the contenders do not compute the same function: {differences}")
        seconds = contest.rounds(rounds, batch)
        others = [name for name in names if name != OURS]
        best = min(others, key=lambda name: float(np.median(seconds[name])))
        ratios = {name: ratio(seconds[OURS], seconds[name]) for name in others}
        rows.append(
            {
                "network": "resnet50",
                "batch": batch,
                "differences": differences,
                "chose": contest.setup[OURS]["chose"][batch],
                "best_alone": best,
                "images_per_second": {k: batch / float(np.median(v)) for k, v in seconds.items()},
                "ratios": {OURS: ratios},
                "seconds": seconds,
            }
        )
    contest.close()
    return rows


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("out", type=Path)
    parse.add_argument("--rounds", type=int, default=20)
    parse.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    args = parse.parse_args()
    backend = os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.argv[0] = "bench/inference.py"
    metadata = run_metadata(backend)
    for result in measure(args.batches, args.rounds, backend):
        add_run(args.out, {**metadata, "load_after": os.getloadavg(), **result})
        for name, speed in result["images_per_second"].items():
            print(f"batch {result['batch']} {name}: {speed:.1f} images/s")
        for name, row in result["ratios"][OURS].items():
            print(f"batch {result['batch']}: {format_ratio(row)} times {name}", flush=True)


if __name__ == "__main__":
    main()
