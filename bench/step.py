"""The time of a training step on PyTorch on a CPU: convolutions, copies, everything else.

    python bench/step.py bench/results/step.json resnet20 resnet56 resnet50

Each contender runs steps on one batch, with `train_on_batch` or by hand, in its own process, from
the same images and weights. One contender runs after the other. The script reports the median time
of a step, and the time of convolutions and copies from PyTorch's profiler. The time of the
convolutions alone is a lower bound for any code around them. The speed of a matrix product on this
machine tells how fast convolutions could be. For speeds see `training.py`, whose contenders take
turns. OUT.json keeps the results of every run of this script.
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
from cases import CASES, COMPILED, OURS, STOCK, TWINS, Case, for_fit, images, normalise, write_model
from turns import Contender, Contest, Turn, add_run, run_metadata

WARM_UP, TIMED, PROFILED, SIDE = 3, 15, 5, 2048
KINDS = {  # names of operations in PyTorch's profiler
    "convolutions": (
        "aten::mkldnn_convolution",
        "aten::convolution_backward",
        "mkldnn::_convolution_pointwise",
    ),
    "copies": ("aten::copy_",),
}
KERAS = {
    STOCK: "stock",
    **{contender: OURS[contender] for contender in ("reslab", "reslab, torch.compile")},
}
HAND = {contender: TWINS[contender] for contender in ("by hand, channels_last", COMPILED)}


def by_keras(turn: Turn, case: Case, file: str, variant: str) -> None:
    """Time `train_on_batch`; `variant` as for `cases.for_fit`."""
    model = for_fit(case, file, variant)
    x, y = images(case)
    x, y = normalise(x[: case.batch]), y[: case.batch]
    turn.ready(_profile(lambda: model.train_on_batch(x, y)))
    turn.wait()


def by_hand(turn: Turn, case: Case, file: str, layout: str) -> None:
    """Time a step of the hand-written loop."""
    from hand import Loop

    turn.ready(_profile(Loop(case, file, layout, augments=False).first))
    turn.wait()


def _profile(step: Callable[[], Any]) -> dict[str, float]:
    """Return the seconds of a step, and those of its operations of each kind."""
    from torch.profiler import ProfilerActivity, profile

    for _ in range(WARM_UP):
        step()
    seconds = {"step": _median(step)}
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(PROFILED):
            step()
    operations = profiler.key_averages()
    for kind, names in KINDS.items():
        total = sum(each.self_cpu_time_total for each in operations if each.key in names)
        seconds[kind] = total / 1e6 / PROFILED
    return seconds


def _median(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def count_flops(turn: Turn, case: Case, file: str) -> None:
    """Send the GFLOP of the convolutions of a step, and the GFLOP/s of a matrix product."""
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


def measure(case: Case) -> dict[str, Any]:
    """Return the times of all contenders for one network."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "model.keras")
        _run_alone(Contender(write_model, (case, file)))
        gflop = _run_alone(Contender(count_flops, (case, file)))
        runs = {
            contender: Contender(by_keras, (case, file, variant))
            for contender, variant in KERAS.items()
        }
        runs |= {
            contender: Contender(by_hand, (case, file, variant))
            for contender, variant in HAND.items()
        }
        seconds = {contender: _run_alone(run) for contender, run in runs.items()}
    return {
        "network": case.name,
        "batch": case.batch,
        "gflop_of_convolutions": gflop["convolutions"],
        "gflop_a_second_of_matrices": gflop["matrices"],
        "seconds": seconds,
    }


def _run_alone(contender: Contender) -> Any:
    contest = Contest({"it": contender})
    contest.close()
    return contest.setup["it"]


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("out", type=Path)
    parse.add_argument("networks", nargs="+", choices=CASES)
    args = parse.parse_args()
    os.environ["KERAS_BACKEND"] = "torch"
    sys.argv[0] = "bench/step.py"
    for name in args.networks:
        metadata = run_metadata("torch")
        result = measure(CASES[name])
        add_run(args.out, {**metadata, **result})
        for contender, spent in result["seconds"].items():
            shown = ", ".join(f"{kind} {1000 * s:.1f} ms" for kind, s in spent.items())
            print(f"{name} {contender}: {shown}", flush=True)


if __name__ == "__main__":
    main()
