"""The memory format of tensors on PyTorch, and the reuse of freed memory."""

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

# mallopt(3). For a tensor larger than the first, glibc maps new pages and returns them when it is
# freed. When more than the second is free at the end of the heap, glibc returns all but the third.
# A step frees nearly all of its memory: with the defaults, the next step has a page fault for each
# 4 KiB.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_TOP_PAD = -3, -1, -2
_MAX_THRESHOLD = 32 << 20  # the largest mmap threshold that glibc accepts
_MAX_VALUE = 2**31 - 1  # mallopt takes an int
_FRACTION = 8  # at most an eighth of the machine's memory is kept


@cache
def keep_freed_memory() -> bool:
    """Let glibc reuse freed memory instead of returning it to the system.

    It keeps up to 2 GiB, or an eighth of the machine's memory if that is less, in the whole
    process. Without glibc nothing happens, and the result is False.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kept = min(memory // _FRACTION, _MAX_VALUE)
    options = {_M_MMAP_THRESHOLD: _MAX_THRESHOLD, _M_TRIM_THRESHOLD: kept, _M_TOP_PAD: kept}
    return all(mallopt(*option) for option in options.items())


def store_transposed(kernel: Any) -> None:
    """Store a kernel as oneDNN and cuDNN read it in channels_last: (out, h, w, in).

    Its shape stays Keras's (h, w, in, out), and it can be assigned to as before.
    """
    value = kernel.value
    transposed = _transposed(value.data)
    if value.data.stride() != transposed.stride():
        value.data = transposed


def _transposed(x: Tensor) -> Tensor:
    return x.permute(3, 2, 0, 1).contiguous(memory_format=LAST).permute(2, 3, 1, 0)


def match_slots(optimizer: Any) -> None:
    """Store an optimiser's variables in the memory format of their weights, for one fast pass."""
    strides = {
        tuple(v.shape): v.value.stride()
        for v in optimizer_variables(optimizer)
        if len(v.shape) == 4 and not v.value.is_contiguous()
    }
    for slot in optimizer.variables:
        if strides.get(tuple(slot.shape), slot.value.stride()) != slot.value.stride():
            slot.value.data = _transposed(slot.value.data)


def match(model: keras.Model) -> bool:
    """Apply `match_slots` to the optimiser of a model; False if it has none that is built."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return False
    match_slots(optimizer)
    return True
