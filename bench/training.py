"""Training speed in images per second: reslab, stock Keras, and hand-written PyTorch.

    export KERAS_BACKEND=torch      # or tensorflow or jax; then PyTorch runs only on a GPU
    python bench/training.py bench/results/training.json resnet20 resnet56 resnet50

On a GPU turns must be longer:

    python bench/training.py bench/results/training.json resnet20 resnet56 resnet110 --steps 100
    python bench/training.py bench/results/training.json resnet50 --batch 256 --steps 20 \\
        --precision mixed

There are two paths. All contenders of a path take turns (`turns.py`):

- `fit`: `model.fit` on arrays in memory, with cross-entropy, accuracy and SGD with momentum,
  against a hand-written loop that shuffles, steps and counts in the same way. Stock Keras fits the
  same `.keras` file.
- `train`: `reslab.train` with the progress bar of the command: shuffling, random crops and flips,
  normalisation, weight decay, metrics, a checkpoint per epoch, a learning rate per step, and the
  log. The hand-written loop does the same, except for the rate per step, the log and the bar. A
  third contender is the same run with stock Keras layers.

Before any timing, all contenders of `fit` run three steps on the same batch from the same weights,
and their losses must agree. The contenders of `train` are the same networks. The PyTorch twins run
in both layouts and with `torch.compile`. OUT.json keeps the results of every run of this script.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cases import (
    CASES,
    COMPILED,
    DECAY,
    MOMENTUM,
    OURS,
    PAD,
    RATE,
    STOCK,
    TWINS,
    Case,
    for_fit,
    images,
    normalise,
    write_model,
)
from turns import Contender, Contest, Turn, add_run, format_ratio, ratio, run_metadata

# Relative to the largest loss. One step changes weights by sums of a million float32 terms. A
# product of two bfloat16 numbers has an error of 2^-8, and libraries round at different points.
TOLERANCE = {"float32": 1e-3, "mixed": 3e-2}


# Keras --------------------------------------------------------------------------------------------


def by_fit(turn: Turn, case: Case, file: str, variant: str) -> None:
    """Time `fit`; `variant` is created, compiled, loaded or stock."""
    model = for_fit(case, file, variant)
    x, y = images(case)
    x, batch = normalise(x), case.batch
    losses = [float(model.train_on_batch(x[:batch], y[:batch])[0]) for _ in range(3)]
    turn.ready(losses)
    while turn.wait():
        start_time = time.perf_counter()
        model.fit(*_fit_arguments(x, y, batch), verbose=0)
        turn.took(time.perf_counter() - start_time)


def _fit_arguments(x: np.ndarray, y: np.ndarray, batch: int) -> tuple[Any, ...]:
    """Return the arrays as `fit` takes them; on TensorFlow as a data set without autotuning.

    With autotuning, half of the turns of all contenders took 2.6, 5.1 or 10.2 seconds, whatever
    they computed: see `reslab.training.feed`.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return x, y, batch
    import tensorflow as tf

    from reslab.training.feed import untuned

    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(batch)
    return (untuned(dataset),)


def by_train(turn: Turn, case: Case, variant: str) -> None:
    """Time `reslab.train`; `variant` is created, compiled, or stock (with the layers of Keras)."""
    import reslab
    from reslab.cli.train import TrainingBar
    from reslab.core.interrupts import Interrupted
    from reslab.core.progress import Watch
    from reslab.data.dataset import ArraySplit, Data
    from reslab.models import build
    from reslab.runs.recipe import Recipe

    if variant == "stock":
        build.accelerate = lambda model: model  # type: ignore[attr-defined]
    x, y = images(case)
    classes = tuple(map(str, range(case.classes)))
    data = Data(
        "random", "random", classes, x.shape[1:], ArraySplit.of(x, y), None, None, "0", {}, {}
    )
    recipe = Recipe(
        "bench",
        batch=case.batch,
        epochs=1000,
        rate=RATE,
        momentum=MOMENTUM,
        weight_decay=DECAY,
        augment=(f"pad-crop({PAD})", "flip"),
        validation=0,
    )
    start_time = [0.0]

    def start(total: float) -> None:
        bar.start(total)
        turn.ready()
        turn.wait()
        start_time[0] = time.perf_counter()

    def epoch(line: Any) -> None:
        turn.took(time.perf_counter() - start_time[0])
        if not turn.wait():
            raise Interrupted
        start_time[0] = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder, TrainingBar() as bar:
        watch = Watch(say=bar.say, start=start, step=bar.step, epoch=epoch)
        with suppress(Interrupted):
            out = Path(folder) / "run"
            reslab.train(
                case.name,
                data,
                recipe,
                precision=case.precision,
                jit_compile=variant == "compiled",
                out=out,
                watch=watch,
            )


def by_hand(turn: Turn, case: Case, file: str, path: str, layout: str) -> None:
    """Time the loop in PyTorch; `path` is fit or train, `layout` as for `hand.Loop`."""
    from hand import Loop

    loop = Loop(case, file, layout, augments=path == "train")
    turn.ready([loop.first() for _ in range(3)] if path == "fit" else None)
    while turn.wait():
        start_time = time.perf_counter()
        loop.epoch()
        turn.took(time.perf_counter() - start_time)


# The comparisons ----------------------------------------------------------------------------------


def contenders(case: Case, path: str, file: str, torch: bool) -> dict[str, Contender]:
    """Return the contenders of a path by name."""
    run, arguments = (by_fit, (case, file)) if path == "fit" else (by_train, (case,))
    excluded = {"loaded": path == "train", "compiled": not torch}
    variants = {
        contender: variant for contender, variant in OURS.items() if not excluded.get(variant)
    } | {STOCK: "stock"}
    result = {
        contender: Contender(run, (*arguments, variant)) for contender, variant in variants.items()
    }
    if torch:
        for contender, layout in TWINS.items():
            result[contender] = Contender(by_hand, (case, file, path, layout))
    return result


def compare(case: Case, path: str, rounds: int, torch: bool) -> dict[str, Any]:
    """Let all contenders of a path take turns, and return their times and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "model.keras")
        Contest({"the file": Contender(write_model, (case, file))}).close()
        contest = Contest(contenders(case, path, file, torch))
        if path == "fit":
            _check_losses(contest.setup, TOLERANCE[case.precision])
        seconds = contest.rounds(rounds)
        contest.close()
    speeds = {k: case.batch * case.steps / float(np.median(v)) for k, v in seconds.items()}
    eager = [k for k in speeds if TWINS.get(k) in ("last", "first")]
    best = max(eager, key=speeds.__getitem__) if eager else None
    against = {STOCK: STOCK}
    if best:
        against |= {"best by hand, eager": best, COMPILED: COMPILED}
    ratios = {
        ours: {
            contender: ratio(seconds[ours], seconds[other]) for contender, other in against.items()
        }
        for ours in OURS
        if ours in seconds
    }
    return {
        "network": case.name,
        "path": path,
        "batch": case.batch,
        "precision": case.precision,
        "steps_a_turn": case.steps,
        "first_losses": contest.setup,
        "best_eager": best,
        "images_per_second": speeds,
        "ratios": ratios,
        "seconds": seconds,
    }


def _check_losses(losses: dict[str, list[float]], tolerance: float) -> None:
    """Stop with an error if a contender's losses differ from those of stock Keras."""
    expected = np.array(losses[STOCK])
    for name, values in losses.items():
        difference = np.abs(np.array(values) - expected).max()
        if not difference <= tolerance * np.abs(expected).max():
            raise SystemExit(f"{name} has other losses: {values}, not {expected.tolist()}")


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("out", type=Path)
    parse.add_argument("networks", nargs="+", choices=CASES)
    parse.add_argument("--paths", nargs="+", default=["fit", "train"], choices=["fit", "train"])
    parse.add_argument("--rounds", type=int, default=12)
    parse.add_argument("--batch", type=int)
    parse.add_argument("--steps", type=int, help="steps per turn")
    parse.add_argument("--precision", choices=TOLERANCE)
    args = parse.parse_args()
    backend = os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # contenders share the GPU
    changes = {k: v for k in ("batch", "steps", "precision") if (v := getattr(args, k))}
    sys.argv[0] = "bench/training.py"
    for name in args.networks:
        for path in args.paths:
            metadata = run_metadata(backend)
            by_hand = backend == "torch" or metadata["machine"]["gpu"] is not None
            result = compare(replace(CASES[name], **changes), path, args.rounds, by_hand)
            add_run(args.out, {**metadata, "load_after": os.getloadavg(), **result})
            for contender, speed in result["images_per_second"].items():
                print(f"{name} {path} {contender}: {speed:.1f} images/s")
            for ours, ratios in result["ratios"].items():
                for other, row in ratios.items():
                    print(f"{name} {path} {ours}: {format_ratio(row)} times {other}", flush=True)


if __name__ == "__main__":
    main()
