"""How a training builds its network: layer by layer or stacked, and with what memory.

What each costs, bench/depth.py measures. A net of a few layers gains nothing from being stacked,
and its file would need reslab to open.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras

from reslab.core import environment as place
from reslab.core.errors import UserError
from reslab.spec import Network, summary
from reslab.spec import stacks as repeats

DEEP = 200  # layers from which like units are stacked
FLAT_FILE = 500  # layers up to which the model's file is written flat all the same
# Bytes that a step holds over those of the layers' outputs: measured on PyTorch with resnet20 at
# 28x28, 3.3 MiB an image where the outputs are 1.9.
KEPT = 1.75
SPARE = 0.8  # of the memory that is free: the images, the weights and others want some as well


@dataclass(frozen=True)
class Building:
    """`note` says in a sentence what was chosen and why; empty where there is nothing to say."""

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
    """What is sensible for the network, a batch and `width` bytes a number; what is given stays.

    Raises UserError where a step cannot fit the machine (a GPU says itself that it is full).
    """
    if remat and stacked is False:
        raise UserError("--remat computes stacked units anew: it does not go with --flat")
    stacks = repeats.stacks(net, aux=True)
    free = _free()
    flat, anew = (
        None if n is None else width * n * batch / 2**30  # GiB
        for n in (summary.outputs(net), repeats.kept(net))
    )
    held = KEPT * flat if flat is not None else 0.0
    short = bool(free and held > SPARE * free)
    depth = summary.depth(net)
    if stacked is None:
        stacked = bool(stacks) and bool(remat or depth > DEEP or (short and remat is not False))
    if remat is None:
        remat = stacked and short
    _check(batch, anew if remat else flat)
    if not stacked:
        return Building()
    units = sum(stack.times for stack in stacks)
    note = f"{net.name}: {units} of its units are stacked in {len(stacks)} layers"
    note += f" ({depth} layers would be slow to build one by one)" if depth > DEEP else ""
    if remat:
        note += ", and computed anew on the way back"
        note += f", for a step would keep {held:.1f} GiB, and {free:.1f} are free" if short else ""
    return Building(True, remat, note)


def _check(batch: int, maps: float | None) -> None:
    """Refuse a batch whose maps, in GiB, cannot fit: the system would just kill the process."""
    here = place.machine(keras.backend.backend())
    if not here["gpu"] and here["memory_gib"] and maps and maps > here["memory_gib"]:
        raise UserError(
            f"a step of {batch:,} images would keep {maps:,.0f} GiB of maps, more than the "
            f"{here['memory_gib']:g} GiB of this machine: try a smaller --batch or --size"
        )


def _free() -> float | None:
    """GiB that this process could still have, of the GPU's memory where one computes; None where
    that is not known."""
    here = place.machine(keras.backend.backend())
    if here["gpu"]:
        return _free_on_gpu()
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(x.split()[1]) / 2**20 for x in lines if x.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        return here["memory_gib"] or None


def _free_on_gpu() -> float | None:
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.mem_get_info()[0] / 2**30
    if keras.backend.backend() == "jax":
        import jax

        told = jax.local_devices()[0].memory_stats() or {}
        if "bytes_limit" in told:
            return (told["bytes_limit"] - told.get("bytes_in_use", 0)) / 2**30
    return None
