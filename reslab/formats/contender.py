"""One file in a benchmark, in a process of its own: it runs when a line on standard input says so.

    python -m reslab.formats.contender FILE

A line is a batch size. The answer is a line "seconds X", the mean time of a batch. Libraries in one
process would disturb each other: their threads keep running for a while after each batch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PREFIX = "seconds "
LEAST = 0.3  # seconds of a turn
READY = "ready"


def main(path: str) -> None:
    """Open the file, and take turns until standard input ends."""
    run, shape = _opened(Path(path))
    rng = np.random.default_rng(0)
    batches: dict[int, Any] = {}
    print(READY, flush=True)
    for line in sys.stdin:
        size = int(line)
        if size not in batches:
            batches[size] = rng.integers(0, 256, (size, *shape), dtype=np.uint8)
            run(batches[size])
        print(f"{PREFIX}{_seconds(run, batches[size])!r}", flush=True)


def _opened(path: Path) -> tuple[Callable[[np.ndarray], Any], tuple[int, ...]]:
    from reslab.engines import opening

    if opening.kind_of(path):
        file = opening.open_file(path)
        return file, tuple(file.card["image_shape"])
    from reslab.engines.inference import inference
    from reslab.models import saved

    model = saved.load(path)
    return inference(model, "backend"), tuple(model.input_shape[1:])


def _seconds(run: Callable[[np.ndarray], Any], images: np.ndarray) -> float:
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < LEAST or count < 2:
        run(images)
        count += 1
    return (time.perf_counter() - start) / count


if __name__ == "__main__":
    main(sys.argv[1])
