"""A grid of a loss surface against plain inference over the same images, in turns.

    KERAS_BACKEND=torch python bench/landscape.py bench/results/landscape.json resnet20 resnet56

A turn of the grid is a few points as `reslab landscape` measures them: weights moved along two
filter-normalised directions, the loss of all images, a line written. A turn of plain inference is
as many passes of `predict_on_batch` over these images, in the same batches, and nothing else. The
goal is 0.8 of its images per second. On JAX and PyTorch the points of a turn are also taken all in
one call (`vmap` over the kernels): `reslab landscape` would do so where it were faster. The results
of every run are kept in OUT.json.
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
from turns import Contender, Contest, Turn, add_run, circumstances, ratio, said

GRID, PLAIN, AT_ONCE = "grid", "plain inference", "points in one call"
SHAPE, CLASSES = (32, 32, 3), 10
GOAL = 0.8


def subject(network: str, n: int) -> Any:
    """Random weights and images: what they are does not matter to the time."""
    from reslab.models.build import create
    from reslab.studies.trained import Images, LoadedRun

    model = create(network, classes=CLASSES, input_shape=SHAPE, data_format="channels_last")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, *SHAPE)).astype("float32")
    images = Images(x, rng.integers(0, CLASSES, n).astype("int32"), f"{n} drawn images")
    return LoadedRun(SimpleNamespace(name=network), model, images)  # type: ignore[arg-type]


def work(turn: Turn, name: str, network: str, n: int, points: int) -> None:
    from reslab.studies.landscape.directions import filter_normalised
    from reslab.studies.landscape.evaluator import BATCH, Evaluator
    from reslab.studies.landscape.point_log import Points

    its = subject(network, n)
    evaluator = Evaluator(its)
    steps = np.linspace(-1, 1, points)
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        store = Points(Path(folder) / "points.jsonl")

        def grid() -> None:
            nonlocal done
            for a in steps:
                store.add((0, done), **vars(evaluator.at(a, 0.5)))
                done += 1

        def plain() -> None:
            for _ in steps:
                for i in range(0, n, BATCH):
                    its.model.predict_on_batch(its.images.x[i : i + BATCH])

        if name != PLAIN:
            evaluator.along(*(filter_normalised(evaluator.start, 0, k) for k in (0, 1)))
        run = at_once(evaluator, steps) if name == AT_ONCE else {GRID: grid, PLAIN: plain}[name]
        run()
        turn.ready()
        while turn.wait():
            begun = time.perf_counter()
            run()
            turn.took(time.perf_counter() - begun)


def at_once(evaluator: Any, steps: np.ndarray) -> Callable[[], Any]:
    """The logits of all points, each batch of images in one call for all of them."""
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
    names = (GRID, PLAIN) if os.environ["KERAS_BACKEND"] == "tensorflow" else (GRID, PLAIN, AT_ONCE)
    held = Contest({name: Contender(work, (name, network, n, points)) for name in names})
    seconds = held.rounds(rounds)
    held.close()
    found = ratio(seconds[GRID], seconds[PLAIN])
    speeds = {name: n * points / float(np.median(each)) for name, each in seconds.items()}
    return {
        "network": network,
        "images": n,
        "points": points,
        "images_per_second": speeds,
        "ratio": found,
        "at_once": ratio(seconds[AT_ONCE], seconds[GRID]) if AT_ONCE in seconds else None,
        "reached": found["ratio"] >= GOAL,
        "seconds": seconds,
    }


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("out", type=Path)
    parse.add_argument("networks", nargs="+")
    parse.add_argument("--images", type=int, default=1000)
    parse.add_argument("--points", type=int, default=3)
    parse.add_argument("--rounds", type=int, default=15)
    asked = parse.parse_args()
    backend = os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.argv[0] = "bench/landscape.py"
    where = circumstances(backend)
    for network in asked.networks:
        found = measure(network, asked.images, asked.points, asked.rounds)
        add_run(asked.out, {**where, "load_after": os.getloadavg(), **found})
        for name, speed in found["images_per_second"].items():
            print(f"{network} {name}: {speed:.0f} images/s")
        print(f"{network}: {said(found['ratio'])} times plain inference; goal {GOAL}", flush=True)
        if found["at_once"]:
            print(f"{network}: in one call {said(found['at_once'])} times as fast", flush=True)


if __name__ == "__main__":
    main()
