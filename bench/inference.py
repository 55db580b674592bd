"""ResNet-50 inference side by side: Keras, PyTorch, OpenVINO, ONNX Runtime and `reslab.inference`.

    KERAS_BACKEND=torch python bench/inference.py bench/results/inference.json
    KERAS_BACKEND=tensorflow python bench/inference.py bench/results/inference.json --batches 16

Every contender holds the same random weights, and is checked to compute the same function, to 1e-4
of the logits' scale, before anything is timed. The results of every run are kept in OUT.json.
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
from turns import Contender, Contest, Turn, add_run, circumstances, ratio, said

OURS, STOCK, BY_HAND = "reslab.inference", "stock Keras", "PyTorch by hand"
ENGINES = {"OpenVINO": "openvino", "ONNX Runtime": "onnxruntime"}
SHAPE, CLASSES = (224, 224, 3), 1000
SETTLE, LEAST = 3, 0.5  # runs before a timing counts; seconds that one timing takes at least
AGREE = 1e-4


def model() -> Any:
    """The same numbers in every process: what He draws, and running statistics unlike 0 and 1."""
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
    """A function from a batch (n, 224, 224, 3) to logits (n, 1000), both numpy."""
    import reslab

    net = model()
    if name == STOCK:
        reslab.accelerate(net, undo=True)
        return lambda x: np.asarray(net.predict_on_batch(x))
    if name == BY_HAND:
        return by_hand(net)
    return reslab.inference(net, ENGINES.get(name, "auto"))


def by_hand(net: Any) -> Callable[[np.ndarray], np.ndarray]:
    """As one writes it in PyTorch: modules, `eval`, channels last, `inference_mode`."""
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
    run = contender(name)
    inputs = {batch: images(batch) for batch in batches}
    answers = {}
    for batch in batches:
        for _ in range(SETTLE):
            answers[batch] = np.asarray(run(inputs[batch]))
    chose = {}
    for batch in batches if name == OURS else ():
        run(inputs[batch])
        times = run.seconds.get((batch, *SHAPE), {})  # type: ignore[attr-defined]
        chose[batch] = {"engine": run.engine, "compared": times}  # type: ignore[attr-defined]
    turn.ready({"answers": answers, "chose": chose})
    while batch := turn.wait():
        run(inputs[batch])  # wakes the threads and fills the caches
        n, begun = 0, time.perf_counter()
        while (took := time.perf_counter() - begun) < LEAST or n == 0:
            run(inputs[batch])
            n += 1
        turn.took(took / n)


def measure(batches: list[int], rounds: int, backend: str) -> list[dict[str, Any]]:
    hand = [BY_HAND] if backend == "torch" else []
    names = [STOCK, *hand, *ENGINES, OURS]
    held = Contest({name: Contender(work, (name, batches)) for name in names})
    found = []
    for batch in batches:
        answers = {name: held.said[name]["answers"][batch] for name in names}
        scale = np.abs(answers[STOCK]).max()
        off = {k: float(np.abs(v - answers[STOCK]).max() / scale) for k, v in answers.items()}
        if not max(off.values()) <= AGREE:
            raise SystemExit(f"they do not compute the same: {off}")
        seconds = held.rounds(rounds, batch)
        others = [name for name in names if name != OURS]
        best = min(others, key=lambda name: float(np.median(seconds[name])))
        ratios = {name: ratio(seconds[OURS], seconds[name]) for name in others}
        found.append(
            {
                "network": "resnet50",
                "batch": batch,
                "differences": off,
                "chose": held.said[OURS]["chose"][batch],
                "best_alone": best,
                "images_per_second": {k: batch / float(np.median(v)) for k, v in seconds.items()},
                "ratios": {OURS: ratios},
                "seconds": seconds,
            }
        )
    held.close()
    return found


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("out", type=Path)
    parse.add_argument("--rounds", type=int, default=20)
    parse.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    asked = parse.parse_args()
    backend = os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.argv[0] = "bench/inference.py"
    where = circumstances(backend)
    for found in measure(asked.batches, asked.rounds, backend):
        add_run(asked.out, {**where, "load_after": os.getloadavg(), **found})
        for name, speed in found["images_per_second"].items():
            print(f"batch {found['batch']} {name}: {speed:.1f} images/s")
        for name, row in found["ratios"][OURS].items():
            print(f"batch {found['batch']}: {said(row)} times {name}", flush=True)


if __name__ == "__main__":
    main()
