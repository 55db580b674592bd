"""A grid of a loss surface against plain inference on the same images.

    KERAS_BACKEND=torch python bench/landscape.py bench/results/landscape.json resnet20 resnet56

A turn of the grid evaluates a few points as `reslab landscape` does: it moves the weights along two
filter-normalised directions, computes the loss of all images, and writes a line. A turn of plain
inference runs `predict_on_batch` as often over the same batches. The goal is 0.8 of the images per
second of plain inference. On JAX and PyTorch a third contender evaluates all points of a turn in
one call (`vmap` over the kernels); `reslab landscape` would do this if it were faster. OUT.json
keeps the results of every run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from turns import Contender, Contest, Turn, add_run, format_ratio, ratio, run_metadata

GRID, PLAIN, AT_ONCE = "grid", "plain inference", "points in one call"
SHAPE, CLASSES = (32, 32, 3), 10
GOAL = 0.8


def subject(network: str, n: int) -> Any:
    """Return a network with random weights and images; their values do not change the time."""
    from reslab.models.build import create
    from reslab.studies.trained import Images, LoadedRun

    model = create(network, classes=CLASSES, input_shape=SHAPE, data_format="channels_last")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, *SHAPE)).astype("float32")
    images = Images(x, rng.integers(0, CLASSES, n).astype("int32"), f"{n} drawn images")
    return LoadedRun(SimpleNamespace(name=network), model, images)  # type: ignore[arg-type]


def work(turn: Turn, name: str, network: str, n: int, points: int) -> None:
    """Prepare a contender, then time its points in each turn."""
    from reslab.studies.landscape.directions import filter_normalised
    from reslab.studies.landscape.evaluator import BATCH, Evaluator
    from reslab.studies.landscape.point_log import Points

    loaded = subject(network, n)
    evaluator = Evaluator(loaded)
    steps = np.linspace(-1, 1, points)
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        store = Points(Path(folder) / "points.jsonl")

        def grid() -> None:
            nonlocal count
            for a in steps:
                store.add((0, count), **vars(evaluator.at(a, 0.5)))
                count += 1

        def plain() -> None:
            for _ in steps:
                for i in range(0, n, BATCH):
                    loaded.model.predict_on_batch(loaded.images.x[i : i + BATCH])

        if name != PLAIN:
            evaluator.along(*(filter_normalised(evaluator.start, 0, k) for k in (0, 1)))
        run = at_once(evaluator, steps) if name == AT_ONCE else {GRID: grid, PLAIN: plain}[name]
        run()
        turn.ready()
        while turn.wait():
            start = time.perf_counter()
            run()
            turn.took(time.perf_counter() - start)


def at_once(evaluator: Any, steps: np.ndarray) -> Callable[[], Any]:
    """Return a function that computes the logits of all points, with one call per batch."""
    import keras
    from keras import ops

    model = evaluator.subject.model
    along = {id(v): (start, directions) for v, start, directions in evaluator.moved}
    kernels = []
    for v in model.trainable_variables:
        start, (one, other) = along.get(id(v), (v.value, (0, 0)))
        kernels.append(ops.stack([start + a * one + 0.5 * other for a in steps.tolist()]))
    rest = [v.value for v in model.non_trainable_variables]

    def logits(kernels: Any, x: Any) -> Any:
        return model.stateless_call(kernels, rest, x, training=False)[0]

    if keras.backend.backend() == "jax":
        import jax

        call = jax.jit(jax.vmap(logits, (0, None)))
    else:
        import torch

        call = torch.no_grad()(torch.vmap(logits, (0, None)))
    return lambda: [ops.convert_to_numpy(call(kernels, x)) for x in evaluator.batches]


def measure(network: str, n: int, points: int, rounds: int) -> dict[str, Any]:
    """Compare the grid with plain inference for one network."""
    names = (GRID, PLAIN) if os.environ["KERAS_BACKEND"] == "tensorflow" else (GRID, PLAIN, AT_ONCE)
    contest = Contest({name: Contender(work, (name, network, n, points)) for name in names})
    seconds = contest.rounds(rounds)
    contest.close()
    grid_ratio = ratio(seconds[GRID], seconds[PLAIN])
    speeds = {name: n * points / float(np.median(each)) for name, each in seconds.items()}
    return {
        "network": network,
        "images": n,
        "points": points,
        "images_per_second": speeds,
        "ratio": grid_ratio,
        "at_once": ratio(seconds[AT_ONCE], seconds[GRID]) if AT_ONCE in seconds else None,
        "reached": grid_ratio["ratio"] >= GOAL,
        "seconds": seconds,
    }


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("out", type=Path)
    parse.add_argument("networks", nargs="+")
    parse.add_argument("--images", type=int, default=1000)
    parse.add_argument("--points", type=int, default=3)
    parse.add_argument("--rounds", type=int, default=15)
    args = parse.parse_args()
    backend = os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.argv[0] = "bench/landscape.py"
    metadata = run_metadata(backend)
    for network in args.networks:
        result = measure(network, args.images, args.points, args.rounds)
        add_run(args.out, {**metadata, "load_after": os.getloadavg(), **result})
        for name, speed in result["images_per_second"].items():
            print(f"{network} {name}: {speed:.0f} images/s")
        print(
            f"{network}: {format_ratio(result['ratio'])} times plain inference; goal {GOAL}",
            flush=True,
        )
        if result["at_once"]:
            print(
                f"{network}: in one call {format_ratio(result['at_once'])} times as fast",
                flush=True,
            )


if __name__ == "__main__":
    main()
