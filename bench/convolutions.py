"""Where the time goes on JAX on a CPU: a 3x3 convolution and its two gradients, beside PyTorch's.

    python bench/convolutions.py bench/results/convolutions.json

The convolutions of a ResNet-20 at 32x32, batch 128, float32: milliseconds of one, forwards, and of
the gradients of its input and its kernel. Then eight of them one after another with both gradients,
as a scan has them, by XLA's own and by `acceleration.jax_rules`, and written out. PyTorch and JAX
have a process each and take turns. The results of every run are kept in OUT.json.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import Contender, Contest, Turn, add_run, circumstances

BATCH, TIMES, ROUNDS = 128, 8, 5
CASES = {"16 maps of 32x32": (16, 32), "32 maps of 16x16": (32, 16), "64 maps of 8x8": (64, 8)}
ONE = "forward", "input gradient", "kernel gradient"
WRITTEN, WRITTEN_OURS = "written out, XLA's own", "written out, reslab"
XLA, OURS = "scan, XLA's own", "scan, reslab"


def arrays(case: str) -> list[np.ndarray]:
    """Images, kernels, and the gradient from outside."""
    maps, side = CASES[case]
    rng = np.random.default_rng(0)
    shapes = (BATCH, side, side, maps), (TIMES, 3, 3, maps, maps), (BATCH, side, side, maps)
    return [rng.normal(size=shape, scale=0.1).astype("float32") for shape in shapes]


def by_torch(turn: Turn) -> None:
    import torch
    from torch.nn import functional as F

    def made(case: str, what: str) -> Callable[[], Any]:
        x, kernels, outer = map(torch.from_numpy, arrays(case))
        last = {"memory_format": torch.channels_last}
        x, outer = (a.permute(0, 3, 1, 2).contiguous(**last) for a in (x, outer))
        kernel = kernels[0].permute(3, 2, 0, 1).contiguous(**last)
        if what == "forward":
            return lambda: F.conv2d(x, kernel, padding=1)
        wanted = x if what == "input gradient" else kernel
        wanted.requires_grad_(True)
        y = F.conv2d(x, kernel, padding=1)
        return lambda: torch.autograd.grad(y, wanted, outer, retain_graph=True)

    _serve(turn, made, lambda done: done)


def by_jax(turn: Turn) -> None:
    import jax
    from jax import lax

    from reslab.acceleration.jax_rules import _convolved

    order = "NHWC", "HWIO", "NHWC"

    def own(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=order)

    def chain(convolution: Callable[..., Any], written: bool) -> Callable[..., Any]:
        def loss(x: Any, kernels: Any) -> Any:
            if written:
                for kernel in kernels:
                    x = jax.nn.relu(convolution(x, kernel))
                return x.sum()
            step = lambda x, kernel: (jax.nn.relu(convolution(x, kernel)), None)  # noqa: E731
            return lax.scan(step, x, kernels)[0].sum()

        return jax.jit(jax.grad(loss, (0, 1)))

    def made(case: str, what: str) -> Callable[[], Any]:
        x, kernels, outer = map(jax.numpy.asarray, arrays(case))
        if what in ONE:
            place = ONE.index(what) - 1
            run = own
            if place >= 0:
                run = lambda *args: jax.vjp(own, *args)[1](outer)[place]  # noqa: E731
            compiled = jax.jit(run)
            return lambda: compiled(x, kernels[0])
        ours = lambda x, kernel: _convolved(((1, 1), (1, 1)), x, kernel)  # noqa: E731
        run = chain(ours if what in (OURS, WRITTEN_OURS) else own, what in (WRITTEN, WRITTEN_OURS))
        return lambda: run(x, kernels)

    _serve(turn, made, jax.block_until_ready)


def _serve(turn: Turn, made: Callable[[str, str], Callable[[], Any]], wait: Any) -> None:
    """Tasks are (case, what); each is prepared, and run once, when it first comes."""
    ready: dict[Any, Callable[[], Any]] = {}
    turn.ready()
    while task := turn.wait():
        if task not in ready:
            ready[task] = made(*task)
            wait(ready[task]())
        times = 3 if task[1] in ONE else 1
        begun = time.perf_counter()
        for _ in range(times):
            wait(ready[task]())
        turn.took((time.perf_counter() - begun) / times)


def main(out: Path) -> None:
    sys.argv[0] = "bench/convolutions.py"
    where = circumstances("jax")
    held = Contest({"torch": Contender(by_torch), "jax": Contender(by_jax)})
    rows = []
    for case in CASES:
        for what in (*ONE, WRITTEN, WRITTEN_OURS, XLA, OURS):
            names = ["jax", "torch"] if what in ONE else ["jax"]
            seconds: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(ROUNDS):
                for name in names:
                    seconds[name].append(held.turn(name, (case, what)))
            medians = {name: float(np.median(each)) for name, each in seconds.items()}
            rows.append({"case": case, "what": what, "median_seconds": medians, "seconds": seconds})
            print(case, what, {k: f"{1000 * v:.1f} ms" for k, v in medians.items()}, flush=True)
    held.close()
    add_run(out, {**where, "batch": BATCH, "times": TIMES, "rows": rows})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
