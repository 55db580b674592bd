"""How tensors lie in memory on PyTorch."""

from __future__ import annotations

from typing import Any

import keras
import torch
from torch import Tensor

LAST = torch.channels_last


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
        for v in optimizer._trainable_variables
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
