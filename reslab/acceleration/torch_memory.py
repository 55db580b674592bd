"""How tensors lie in memory on PyTorch."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

import keras
import torch
from torch import Tensor

from reslab.acceleration.keras_internals import optimizer_variables

LAST = torch.channels_last

# mallopt(3). Above the first, glibc maps fresh pages for every tensor and gives them back at once.
# What is free at the end of the heap, once it is more than the second, is given back but for the
# third. A step frees nearly all that it took: without them, the next begins with a page fault for
# each 4 KiB again.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_TOP_PAD = -3, -1, -2
_MOST = 32 << 20  # the highest of the first that glibc takes
_KEPT = 2**31 - 1  # the highest number that mallopt takes
_SHARE = 8  # of a small machine's memory


@cache
def keep_freed_memory() -> bool:
    """Let glibc use freed memory again instead of returning it to the system.

    Up to 2 GiB, or an eighth of the machine's memory where that is less. For the whole process,
    and once; where there is no glibc, nothing happens, and the answer is False.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    kept = min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _SHARE, _KEPT)
    wanted = {_M_MMAP_THRESHOLD: _MOST, _M_TRIM_THRESHOLD: kept, _M_TOP_PAD: kept}
    return all(mallopt(*each) for each in wanted.items())


def store_turned(kernel: Any) -> None:
    """Let a kernel's memory lie as oneDNN and cuDNN read it in channels_last: (out, h, w, in).

    Its shape stays Keras's (h, w, in, out), and assigning to it works as ever.
    """
    value = kernel.value
    wanted = _turned(value.data)
    if value.data.stride() != wanted.stride():
        value.data = wanted


def _turned(x: Tensor) -> Tensor:
    return x.permute(3, 2, 0, 1).contiguous(memory_format=LAST).permute(2, 3, 1, 0)


def match_slots(optimizer: Any) -> None:
    """Let an optimiser's variables lie as those that they belong to: sums of the two run on."""
    strides = {
        tuple(v.shape): v.value.stride()
        for v in optimizer_variables(optimizer)
        if len(v.shape) == 4 and not v.value.is_contiguous()
    }
    for slot in optimizer.variables:
        if strides.get(tuple(slot.shape), slot.value.stride()) != slot.value.stride():
            slot.value.data = _turned(slot.value.data)


def match(model: keras.Model) -> bool:
    """`match_slots` of a compiled model's optimiser; whether that is done."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return False
    match_slots(optimizer)
    return True
