"""Where the time of a training step goes on PyTorch on a CPU: in convolutions, copies, all else.

    python bench/step.py bench/results/step.json resnet20 resnet56 resnet50

Steps on one batch, by `train_on_batch` or by hand, each contender's in a process of its own, one
after the other, on the same images from the same weights: milliseconds as the median of some, and
those of the convolutions and copies from PyTorch's profiler, which watches some more. What stock
Keras takes over what the convolutions alone take, no code around them can reach. How fast this
machine multiplies matrices tells what the convolutions could. For speeds see `training.py`, whose
contenders take turns. The results of every run of this script are kept in OUT.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES, COMPILED, OURS, STOCK, TWINS, Case, for_fit, images, scaled, written
from turns import Contender, Contest, Turn, add_run, circumstances

WARM, TIMED, WATCHED, SIDE = 3, 15, 5, 2048
KINDS = {  # names of PyTorch's operations, as its profiler has them
    "convolutions": (
        "aten::mkldnn_convolution",
        "aten::convolution_backward",
        "mkldnn::_convolution_pointwise",
    ),
    "copies": ("aten::copy_",),
}
KERAS = {STOCK: "stock", **{whose: OURS[whose] for whose in ("reslab", "reslab, torch.compile")}}
HAND = {whose: TWINS[whose] for whose in ("by hand, channels_last", COMPILED)}


def by_keras(turn: Turn, case: Case, file: str, way: str) -> None:
    model = for_fit(case, file, way)
    x, y = images(case)
    x, y = scaled(x[: case.batch]), y[: case.batch]
    turn.ready(_watched(lambda: model.train_on_batch(x, y)))
    turn.wait()


def by_hand(turn: Turn, case: Case, file: str, layout: str) -> None:
    from hand import Loop

    turn.ready(_watched(Loop(case, file, layout, augments=False).first))
    turn.wait()


def _watched(step: Callable[[], Any]) -> dict[str, float]:
    """Seconds of a step, and of what it has of each kind."""
    from torch.profiler import ProfilerActivity, profile

    for _ in range(WARM):
        step()
    found = {"step": _median(step)}
    with profile(activities=[ProfilerActivity.CPU]) as watch:
        for _ in range(WATCHED):
            step()
    operations = watch.key_averages()
    for kind, names in KINDS.items():
        spent = sum(each.self_cpu_time_total for each in operations if each.key in names)
        found[kind] = spent / 1e6 / WATCHED
    return found


def _median(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))


def counted(turn: Turn, case: Case, file: str) -> None:
    """GFLOP of a step's convolutions, and how many a second a product of two matrices makes."""
    import torch
    from hand import Loop
    from torch.utils.flop_counter import FlopCounterMode

    loop = Loop(case, file, "last", augments=False)
    with FlopCounterMode(display=False) as counter:
        loop.first()
    counts = counter.get_flop_counts()["Global"]
    convolutions = sum(n for operation, n in counts.items() if "convolution" in str(operation))
    a, b = torch.randn(2, SIDE, SIDE)
    product = _median(lambda: a @ b)
    turn.ready({"convolutions": convolutions / 1e9, "matrices": 2 * SIDE**3 / product / 1e9})
    turn.wait()


def measured(case: Case) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "model.keras")
        _alone(Contender(written, (case, file)))
        gflop = _alone(Contender(counted, (case, file)))
        runs = {words: Contender(by_keras, (case, file, way)) for words, way in KERAS.items()}
        runs |= {words: Contender(by_hand, (case, file, way)) for words, way in HAND.items()}
        seconds = {words: _alone(contender) for words, contender in runs.items()}
    return {
        "network": case.name,
        "batch": case.batch,
        "gflop_of_convolutions": gflop["convolutions"],
        "gflop_a_second_of_matrices": gflop["matrices"],
        "seconds": seconds,
    }


def _alone(contender: Contender) -> Any:
    held = Contest({"it": contender})
    held.close()
    return held.said["it"]


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("out", type=Path)
    parse.add_argument("networks", nargs="+", choices=CASES)
    asked = parse.parse_args()
    os.environ["KERAS_BACKEND"] = "torch"
    sys.argv[0] = "bench/step.py"
    for name in asked.networks:
        where = circumstances("torch")
        found = measured(CASES[name])
        add_run(asked.out, {**where, **found})
        for words, spent in found["seconds"].items():
            shown = ", ".join(f"{kind} {1000 * s:.1f} ms" for kind, s in spent.items())
            print(f"{name} {words}: {shown}", flush=True)


if __name__ == "__main__":
    main()
