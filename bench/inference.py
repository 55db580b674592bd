"""ResNet-50 inference side by side: Keras, PyTorch, OpenVINO, ONNX Runtime and `reslab.inference`.

    python bench/inference.py bench/results/inference.json [--rounds 20] [--batches 1 16]
    python bench/inference.py bench/results/inference.json --table    # the table again

Every contender holds the same random weights, and is checked to compute the same function, before
anything is timed. Each runs in a process of its own, so that no library's threads spin in the way
of another's, and they take turns: a round is one timing of each, in an order drawn anew. The
ratios are of times in the same round; their intervals are of a bootstrap over rounds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OURS = "reslab.inference"
WORDS = {
    "keras": "stock Keras, `predict_on_batch`",
    "pytorch": "PyTorch, written by hand",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    OURS: "`reslab.inference`",
}
SHAPE, CLASSES = (224, 224, 3), 1000
SETTLE, LEAST = 3, 0.5  # runs before a timing counts; seconds that one timing takes at least


def model() -> Any:
    """The same numbers in every process: what He draws, and running statistics unlike 0 and 1."""
    import keras

    from reslab.build import create

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
    assert isinstance(net, keras.Model)
    return net


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(batch, *SHAPE)).astype("float32")


def contender(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a batch (n, 224, 224, 3) to logits (n, 1000), both numpy."""
    import reslab

    net = model()
    if name == "keras":
        return lambda x: np.asarray(net.predict_on_batch(x))
    if name == "pytorch":
        return by_hand(net)
    run = reslab.inference(net, "auto" if name == OURS else name)
    contender.run = run  # type: ignore[attr-defined]  # to ask it what it chose
    return run


def by_hand(net: Any) -> Callable[[np.ndarray], np.ndarray]:
    """As one writes it in PyTorch: modules, `eval`, channels last, `inference_mode`."""
    import torch
    from torch import nn

    class Unit(nn.Module):
        def __init__(self, before: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(4 * width)
            self.relu = nn.ReLU(inplace=True)
            self.shortcut = (
                nn.Sequential(
                    nn.Conv2d(before, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
                )
                if stride > 1 or before != 4 * width
                else nn.Identity()
            )

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.relu(self.bn2(self.conv2(y)))
            return self.relu(self.bn3(self.conv3(y)) + self.shortcut(x))

    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
    parts: list[nn.Module] = [*stem, nn.MaxPool2d(3, 2, 1)]
    before = 64
    for stage, units in enumerate((3, 4, 6, 3)):
        for unit in range(units):
            width = 64 * 2**stage
            parts.append(Unit(before, width, 2 if unit == 0 and stage else 1))
            before = 4 * width
    twin = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, CLASSES))
    _copy(net, twin)
    twin = twin.eval().to(memory_format=torch.channels_last)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return twin(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()

    return run


def _copy(net: Any, twin: Any) -> None:
    """The weights into the twin, in order of computation: `walk` goes body first, as it does."""
    import torch
    from torch import nn

    from reslab.spec import walk
    from reslab.zoo import network

    ours = [line.path for line in walk(network("resnet50")) if line.weights]
    theirs = [m for m in twin.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    for path, module in zip(ours, theirs, strict=True):
        weights = {v.name: torch.from_numpy(np.array(v)) for v in net.get_layer(path).variables}
        with torch.no_grad():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_(weights["kernel"].permute(3, 2, 0, 1))
            elif isinstance(module, nn.Linear):
                module.weight.copy_(weights["kernel"].t())
                module.bias.copy_(weights["bias"])
            else:
                module.weight.copy_(weights["gamma"])
                module.bias.copy_(weights["beta"])
                module.running_mean.copy_(weights["moving_mean"])
                module.running_var.copy_(weights["moving_variance"])


# Timing -----------------------------------------------------------------------------------------


def serve(name: str, batches: list[int], pipe: Any) -> None:
    """A contender's process: sends its answers, then waits to be told what to time."""
    run = contender(name)
    inputs = {batch: images(batch) for batch in batches}
    for batch in batches:
        for _ in range(SETTLE):
            found = run(inputs[batch])
        pipe.send(np.asarray(found))
    ours = getattr(contender, "run", None)
    chose = {}
    for batch in batches if name == OURS else ():
        run(inputs[batch])
        times = ours.seconds.get((batch, *SHAPE), {})
        chose[batch] = {"engine": ours.engine, "compared": times}
    pipe.send(chose)
    while batch := pipe.recv():
        run(inputs[batch])  # wakes the threads and fills the caches
        n, begun = 0, time.perf_counter()
        while (took := time.perf_counter() - begun) < LEAST or n == 0:
            run(inputs[batch])
            n += 1
        pipe.send(took / n)


def measure(batches: list[int], rounds: int) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    pipes, answers, chosen = {}, {}, {}
    for name in WORDS:
        pipes[name], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(name, batches, theirs), daemon=True).start()
        answers[name] = {batch: pipes[name].recv() for batch in batches}
        chosen |= pipes[name].recv()
    differences: dict[str, float] = {}
    for name in WORDS:
        for batch in batches:
            wanted = answers["keras"][batch]
            off = float(np.abs(answers[name][batch] - wanted).max() / np.abs(wanted).max())
            differences[name] = max(off, differences.get(name, 0.0))
    assert max(differences.values()) < 1e-4, differences
    seconds: dict[int, dict[str, list[float]]] = {b: {n: [] for n in WORDS} for b in batches}
    order = random.Random(0)
    for _ in range(rounds):
        for batch in batches:
            for name in order.sample(list(WORDS), len(WORDS)):
                pipes[name].send(batch)
                seconds[batch][name].append(pipes[name].recv())
    for pipe in pipes.values():
        pipe.send(0)
    return {"differences": differences, "chosen": chosen, "seconds": seconds}


def summary(seconds: dict[str, list[float]], batch: int) -> dict[str, Any]:
    """Medians, and how much more ours does than each: the median of the rounds' ratios, with a
    95 % interval."""
    rng = np.random.default_rng(0)
    rows: dict[str, Any] = {}
    ours = np.array(seconds[OURS])
    best = min((n for n in WORDS if n != OURS), key=lambda n: np.median(seconds[n]))
    for name in WORDS:
        times = np.array(seconds[name])
        ratios = times / ours
        drawn = np.median(ratios[rng.integers(0, len(ratios), (10_000, len(ratios)))], axis=1)
        rows[name] = {
            "images_per_second": batch / float(np.median(times)),
            "ours_faster_by": float(np.median(ratios)),
            "interval": [float(q) for q in np.quantile(drawn, [0.025, 0.975])],
        }
    return {"best_alone": best, "rows": rows}


def table(result: dict[str, Any]) -> str:
    lines = [
        "| batch | | images/s | `reslab.inference` is so many times as fast |",
        "|---|---|---|---|",
    ]
    for batch, part in result["summary"].items():
        for name, row in part["rows"].items():
            low, high = row["interval"]
            ratio = f"{row['ours_faster_by']:.2f} ({low:.2f} to {high:.2f})"
            best = ", the best of those alone" if name == part["best_alone"] else ""
            word = WORDS[name] + best
            speed = f"{row['images_per_second']:.1f}"
            lines.append(f"| {batch} | {word} | {speed} | {'' if name == OURS else ratio} |")
    return "\n".join(lines)


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("out", type=Path)
    parse.add_argument("--rounds", type=int, default=20)
    parse.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parse.add_argument("--table", action="store_true", help="only the table, of an earlier run")
    asked = parse.parse_args()
    if not asked.table:
        import reslab  # chooses the backend
        from reslab.machine import commit, machine, versions

        backend = os.environ["KERAS_BACKEND"]
        batches = " ".join(map(str, asked.batches))
        how = f"--rounds {asked.rounds} --batches {batches}"
        load = os.getloadavg()
        result = measure(asked.batches, asked.rounds)
        parts = {b: summary(s, b) for b, s in result["seconds"].items()}
        result |= {
            "command": f"python bench/inference.py {asked.out} {how}",
            "network": "resnet50, 224x224, float32, random weights",
            "reslab": reslab.__version__,
            "backend": backend,
            "versions": versions(),
            "commit": commit(),
            "machine": machine(backend),
            "load_average": {"before": load, "after": os.getloadavg()},
            "summary": parts,
        }
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(result, indent=1) + "\n")
    found = table(json.loads(asked.out.read_text()))
    asked.out.with_suffix(".md").write_text(found + "\n")
    print(found)


if __name__ == "__main__":
    main()
