"""Training, images per second: reslab, stock Keras, and PyTorch written by hand, side by side.

    export KERAS_BACKEND=torch      # or tensorflow, jax: the loops by hand are there on a GPU only
    python bench/training.py bench/results/training.json resnet20 resnet56 resnet50

and on a GPU, where a turn has to be longer:

    python bench/training.py bench/results/training.json resnet20 resnet56 resnet110 --steps 100
    python bench/training.py bench/results/training.json resnet50 --batch 256 --steps 20 \\
        --precision mixed

Two paths, each with all of its contenders in one contest (`turns.py`):

- `fit`: `model.fit` on arrays in memory, with cross-entropy, accuracy and SGD with momentum,
  against a loop that shuffles, steps and counts the same. Stock Keras fits the same `.keras` file.
- `train`: `reslab.train` with the command's own progress bar: shuffling, a crop and a mirror image
  drawn for each image, standardisation, decay, metrics, a checkpoint an epoch, the rate of each
  step and the log; against a loop that does the same but for the last two and the bar, and against
  the same run with stock Keras's layers.

Before any timing all contenders of `fit` make three steps on the same batch from the same weights,
and their losses must agree; those of `train` are the same networks. Twins run in both layouts, and
compiled by `torch.compile`. The results of every run of this script are kept in OUT.json.
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
    scaled,
    written,
)
from turns import Contender, Contest, Turn, add_run, circumstances, ratio, said

# Of the losses' scale: one step moves weights by sums of a million float32 terms; a product of two
# bfloat16 is off by 2^-8, and where it is rounded differs from library to library.
AGREE = {"float32": 1e-3, "mixed": 3e-2}


# Keras --------------------------------------------------------------------------------------------


def by_fit(turn: Turn, case: Case, file: str, way: str) -> None:
    """`way` is created, compiled, loaded, or stock."""
    model = for_fit(case, file, way)
    x, y = images(case)
    x, batch = scaled(x), case.batch
    losses = [float(model.train_on_batch(x[:batch], y[:batch])[0]) for _ in range(3)]
    turn.ready(losses)
    while turn.wait():
        begun = time.perf_counter()
        model.fit(*_fed(x, y, batch), verbose=0)
        turn.took(time.perf_counter() - begun)


def _fed(x: np.ndarray, y: np.ndarray, batch: int) -> tuple[Any, ...]:
    """The arrays as `fit` takes them, shuffled; on TensorFlow as a data set without the tuner.

    With it, half of the turns of all contenders took 2.6, 5.1 or 10.2 seconds, whatever was in
    them: see `reslab.training.feed`.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return x, y, batch
    import tensorflow as tf

    from reslab.training.feed import untuned

    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(batch)
    return (untuned(dataset),)


def by_train(turn: Turn, case: Case, way: str) -> None:
    """`way` is created, compiled, or stock: the same run with Keras's own layers."""
    import reslab
    from reslab.cli.train import TrainingBar
    from reslab.core.interrupts import Interrupted
    from reslab.core.progress import Watch
    from reslab.data.dataset import ArraySplit, Data
    from reslab.models import build
    from reslab.runs.recipe import Recipe

    if way == "stock":
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
    begun = [0.0]

    def start(total: float) -> None:
        bar.start(total)
        turn.ready()
        turn.wait()
        begun[0] = time.perf_counter()

    def epoch(line: Any) -> None:
        turn.took(time.perf_counter() - begun[0])
        if not turn.wait():
            raise Interrupted
        begun[0] = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder, TrainingBar() as bar:
        watch = Watch(say=bar.say, start=start, step=bar.step, epoch=epoch)
        with suppress(Interrupted):
            out = Path(folder) / "run"
            reslab.train(
                case.name,
                data,
                recipe,
                precision=case.precision,
                jit_compile=way == "compiled",
                out=out,
                watch=watch,
            )


def by_hand(turn: Turn, case: Case, file: str, path: str, layout: str) -> None:
    """`path` is fit or train; `layout` as for `hand.Loop`."""
    from hand import Loop

    loop = Loop(case, file, layout, augments=path == "train")
    turn.ready([loop.first() for _ in range(3)] if path == "fit" else None)
    while turn.wait():
        begun = time.perf_counter()
        loop.epoch()
        turn.took(time.perf_counter() - begun)


# The contests -------------------------------------------------------------------------------------


def contenders(case: Case, path: str, file: str, torch: bool) -> dict[str, Contender]:
    run, told = (by_fit, (case, file)) if path == "fit" else (by_train, (case,))
    left_out = {"loaded": path == "train", "compiled": not torch}
    ways = {words: way for words, way in OURS.items() if not left_out.get(way)} | {STOCK: "stock"}
    found = {words: Contender(run, (*told, way)) for words, way in ways.items()}
    if torch:
        for words, layout in TWINS.items():
            found[words] = Contender(by_hand, (case, file, path, layout))
    return found


def contest(case: Case, path: str, rounds: int, torch: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "model.keras")
        Contest({"the file": Contender(written, (case, file))}).close()
        held = Contest(contenders(case, path, file, torch))
        if path == "fit":
            _agree(held.said, AGREE[case.precision])
        seconds = held.rounds(rounds)
        held.close()
    speeds = {k: case.batch * case.steps / float(np.median(v)) for k, v in seconds.items()}
    eager = [k for k in speeds if TWINS.get(k) in ("last", "first")]
    best = max(eager, key=speeds.__getitem__) if eager else None
    against = {STOCK: STOCK}
    if best:
        against |= {"best by hand, eager": best, COMPILED: COMPILED}
    ratios = {
        ours: {words: ratio(seconds[ours], seconds[other]) for words, other in against.items()}
        for ours in OURS
        if ours in seconds
    }
    return {
        "network": case.name,
        "path": path,
        "batch": case.batch,
        "precision": case.precision,
        "steps_a_turn": case.steps,
        "first_losses": held.said,
        "best_eager": best,
        "images_per_second": speeds,
        "ratios": ratios,
        "seconds": seconds,
    }


def _agree(losses: dict[str, list[float]], within: float) -> None:
    wanted = np.array(losses[STOCK])
    for name, found in losses.items():
        off = np.abs(np.array(found) - wanted).max()
        if not off <= within * np.abs(wanted).max():
            raise SystemExit(f"{name} computes something else: {found}, not {wanted.tolist()}")


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("out", type=Path)
    parse.add_argument("networks", nargs="+", choices=CASES)
    parse.add_argument("--paths", nargs="+", default=["fit", "train"], choices=["fit", "train"])
    parse.add_argument("--rounds", type=int, default=12)
    parse.add_argument("--batch", type=int)
    parse.add_argument("--steps", type=int, help="of a turn")
    parse.add_argument("--precision", choices=AGREE)
    asked = parse.parse_args()
    backend = os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # contenders share the GPU
    changes = {k: v for k in ("batch", "steps", "precision") if (v := getattr(asked, k))}
    sys.argv[0] = "bench/training.py"
    for name in asked.networks:
        for path in asked.paths:
            where = circumstances(backend)
            by_hand = backend == "torch" or where["machine"]["gpu"] is not None
            found = contest(replace(CASES[name], **changes), path, asked.rounds, by_hand)
            add_run(asked.out, {**where, "load_after": os.getloadavg(), **found})
            for words, speed in found["images_per_second"].items():
                print(f"{name} {path} {words}: {speed:.1f} images/s")
            for ours, ratios in found["ratios"].items():
                for other, row in ratios.items():
                    print(f"{name} {path} {ours}: {said(row)} times {other}", flush=True)


if __name__ == "__main__":
    main()
