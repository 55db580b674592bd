"""Time of a 3x3 convolution and its two gradients on a CPU: JAX and PyTorch.

    python bench/convolutions.py bench/results/convolutions.json

The convolutions are those of a ResNet-20 at 32x32, batch 128, float32. First, the script measures
one forward pass and the gradients with respect to the input and the kernel. Then it measures eight
convolutions in sequence with both gradients: in a scan and unrolled, each with XLA's own rules and
with `acceleration.jax_rules`. PyTorch and JAX run in separate processes and take turns. OUT.json
keeps the results of every run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import Contender, Contest, Turn, add_run, run_metadata

BATCH, TIMES, ROUNDS = 128, 8, 5
CASES = {"16 maps of 32x32": (16, 32), "32 maps of 16x16": (32, 16), "64 maps of 8x8": (64, 8)}
ONE = "forward", "input gradient", "kernel gradient"
WRITTEN, WRITTEN_OURS = "written out, XLA's own", "written out, reslab"
XLA, OURS = "scan, XLA's own", "scan, reslab"


def arrays(case: str) -> list[np.ndarray]:
    """Return images, kernels, and the gradient with respect to the output."""
    maps, side = CASES[case]
    rng = np.random.default_rng(0)
    shapes = (BATCH, side, side, maps), (TIMES, 3, 3, maps, maps), (BATCH, side, side, maps)
    return [rng.normal(size=shape, scale=0.1).astype("float32") for shape in shapes]


def by_torch(turn: Turn) -> None:
    """Time the convolutions of PyTorch."""
    import torch
    from torch.nn import functional as F

    def prepare(case: str, what: str) -> Callable[[], Any]:
        x, kernels, outer = map(torch.from_numpy, arrays(case))
        last = {"memory_format": torch.channels_last}
        x, outer = (a.permute(0, 3, 1, 2).contiguous(**last) for a in (x, outer))
        kernel = kernels[0].permute(3, 2, 0, 1).contiguous(**last)
        if what == "forward":
            return lambda: F.conv2d(x, kernel, padding=1)
        variable = x if what == "input gradient" else kernel
        variable.requires_grad_(True)
        y = F.conv2d(x, kernel, padding=1)
        return lambda: torch.autograd.grad(y, variable, outer, retain_graph=True)

    _serve(turn, prepare, lambda done: done)


def by_jax(turn: Turn) -> None:
    """Time the convolutions of JAX, alone and in sequences."""
    import jax
    from jax import lax

    from reslab.acceleration.jax_rules import _convolved

    order = "NHWC", "HWIO", "NHWC"

    def xla_convolution(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=order)

    def chain(convolution: Callable[..., Any], unrolled: bool) -> Callable[..., Any]:
        def loss(x: Any, kernels: Any) -> Any:
            if unrolled:
                for kernel in kernels:
                    x = jax.nn.relu(convolution(x, kernel))
                return x.sum()
            step = lambda x, kernel: (jax.nn.relu(convolution(x, kernel)), None)  # noqa: E731
            return lax.scan(step, x, kernels)[0].sum()

        return jax.jit(jax.grad(loss, (0, 1)))

    def prepare(case: str, what: str) -> Callable[[], Any]:
        x, kernels, outer = map(jax.numpy.asarray, arrays(case))
        if what in ONE:
            index = ONE.index(what) - 1
            run = xla_convolution
            if index >= 0:
                run = lambda *args: jax.vjp(xla_convolution, *args)[1](outer)[index]  # noqa: E731
            compiled = jax.jit(run)
            return lambda: compiled(x, kernels[0])
        ours = lambda x, kernel: _convolved(((1, 1), (1, 1)), x, kernel)  # noqa: E731
        run = chain(
            ours if what in (OURS, WRITTEN_OURS) else xla_convolution,
            what in (WRITTEN, WRITTEN_OURS),
        )
        return lambda: run(x, kernels)

    _serve(turn, prepare, jax.block_until_ready)


def _serve(turn: Turn, prepare: Callable[[str, str], Callable[[], Any]], wait: Any) -> None:
    """Run tasks (case, what). Each task is prepared and run once before its first measurement."""
    ready: dict[Any, Callable[[], Any]] = {}
    turn.ready()
    while task := turn.wait():
        if task not in ready:
            ready[task] = prepare(*task)
            wait(ready[task]())
        times = 3 if task[1] in ONE else 1
        start = time.perf_counter()
        for _ in range(times):
            wait(ready[task]())
        turn.took((time.perf_counter() - start) / times)


def main(out: Path) -> None:
    sys.argv[0] = "bench/convolutions.py"
    metadata = run_metadata("jax")
    contest = Contest({"torch": Contender(by_torch), "jax": Contender(by_jax)})
    rows = []
    for case in CASES:
        for what in (*ONE, WRITTEN, WRITTEN_OURS, XLA, OURS):
            names = ["jax", "torch"] if what in ONE else ["jax"]
            seconds: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(ROUNDS):
                for name in names:
                    seconds[name].append(contest.turn(name, (case, what)))
            medians = {name: float(np.median(each)) for name, each in seconds.items()}
            rows.append({"case": case, "what": what, "median_seconds": medians, "seconds": seconds})
            print(case, what, {k: f"{1000 * v:.1f} ms" for k, v in medians.items()}, flush=True)
    contest.close()
    add_run(out, {**metadata, "batch": BATCH, "times": TIMES, "rows": rows})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
