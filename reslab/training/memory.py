"""How a training builds its network: layer by layer or stacked, with or without recomputation.

`bench/depth.py` measures what each choice costs. A network of few layers gains nothing from being
stacked, and its model file would need reslab to open.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras

from reslab.core import environment
from reslab.core.errors import UserError
from reslab.spec import Network, summary
from reslab.spec import stacks as spec_stacks

DEEP = 200  # layers from which repeated units are stacked
FLAT_FILE = 500  # layers up to which the model file has single layers in any case
# Memory that a step keeps, relative to the layers' outputs. Measured on PyTorch with resnet20 at
# 28x28: 3.3 MiB per image, with outputs of 1.9 MiB.
KEPT = 1.75
SPARE = 0.8  # the part of the free memory to use: images, weights and other processes need some


@dataclass(frozen=True)
class Building:
    """What was chosen. `note` is a sentence about the choice and its reason; it may be empty."""

    stacked: bool = False
    remat: bool = False
    note: str = ""


def choose(
    net: Network,
    batch: int,
    width: int,
    stacked: bool | None = None,
    remat: bool | None = None,
) -> Building:
    """Choose what is None, for this network and batch size and `width` bytes per number.

    Raises UserError if a step cannot fit into the machine's memory. A GPU reports that itself.
    """
    if remat and stacked is False:
        raise UserError("--remat recomputes stacked units: it does not go with --flat")
    stacks = spec_stacks.stacks(net, aux=True)
    free = _free()
    flat, recomputed = (
        None if n is None else width * n * batch / 2**30  # GiB
        for n in (summary.activations(net), spec_stacks.kept_activations(net))
    )
    needed = KEPT * flat if flat is not None else 0.0
    short = bool(free and needed > SPARE * free)
    depth = summary.depth(net)
    if stacked is None:
        stacked = bool(stacks) and bool(remat or depth > DEEP or (short and remat is not False))
    if remat is None:
        remat = stacked and short
    _check(batch, recomputed if remat else flat)
    if not stacked:
        return Building()
    units = sum(stack.times for stack in stacks)
    note = f"{net.name}: {units} of its units are stacked in {len(stacks)} layers"
    note += f" ({depth} layers would be slow to build one by one)" if depth > DEEP else ""
    if remat:
        note += "; their activations are recomputed in the backward pass"
        note += f": a step would keep {needed:.1f} GiB, and {free:.1f} are free" if short else ""
    return Building(True, remat, note)


def _check(batch: int, activations: float | None) -> None:
    """Refuse a batch whose activations, in GiB, cannot fit: the system would kill the process."""
    machine = environment.machine(keras.backend.backend())
    memory = None if machine["gpu"] else machine["memory_gib"]
    if memory and activations and activations > memory:
        raise UserError(
            f"a step of {batch:,} images would keep {activations:,.0f} GiB of activations, more "
            f"than the {memory:g} GiB of this machine: try a smaller --batch or --size"
        )


def _free() -> float | None:
    """Free memory in GiB, of the GPU if there is one; None if it is not known."""
    machine = environment.machine(keras.backend.backend())
    if machine["gpu"]:
        return _free_on_gpu()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(x.split()[1]) / 2**20 for x in lines if x.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        return machine["memory_gib"] or None


def _free_on_gpu() -> float | None:
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.mem_get_info()[0] / 2**30
    if keras.backend.backend() == "jax":
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        if "bytes_limit" in stats:
            return (stats["bytes_limit"] - stats.get("bytes_in_use", 0)) / 2**30
    return None
