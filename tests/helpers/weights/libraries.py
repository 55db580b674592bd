"""The other libraries, and their nets filled at random, running statistics too."""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np


@cache
def library(name: str) -> ModuleType:
    """torchvision, timm or keras_hub, imported beside our PyTorch.

    torchvision's plain wheel brings operators that are built for PyTorch with CUDA, and do not
    load beside a PyTorch without. None of the nets calls them, but importing it asks for the
    names of two: they are then declared here, with nothing behind them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in ("torchvision", "timm"):
            try:
                importlib.import_module("torchvision")
            except RuntimeError:
                _declare_operators()
                importlib.import_module("torchvision")
        return importlib.import_module(name)


@cache
def _declare_operators() -> Any:
    import torch

    declared = torch.library.Library("torchvision", "FRAGMENT")
    boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for operator in ("nms", "qnms"):
        declared.define(operator + boxes)
    return declared


def torch_net(source: str, name: str, **options: Any) -> Any:
    """A net of torchvision or timm in inference, filled at random."""
    import torch

    make = (
        library("torchvision").models.get_model
        if source == "torchvision"
        else library("timm").create_model
    )
    with warnings.catch_warnings(), torch.device("cpu"):
        warnings.simplefilter("ignore")
        net = make(name, **options).eval()
    rng = np.random.default_rng(1)
    state = net.state_dict()
    for key, tensor in state.items():
        if not key.endswith("num_batches_tracked"):
            values = random(rng, key, tuple(tensor.shape), first=True)
            state[key] = torch.from_numpy(values)
    net.load_state_dict(state)
    return net


def fill_keras(net: Any) -> Any:
    """A Keras model of another library, filled at random."""
    rng = np.random.default_rng(1)
    for variable in net.variables:
        if not variable.path.endswith("seed_generator_state"):
            variable.assign(random(rng, variable.path, tuple(variable.shape), first=False))
    return net


def random(rng: np.random.Generator, name: str, shape: tuple[int, ...], first: bool) -> np.ndarray:
    """Of a size that keeps the signal's; scales and variances are positive, unlike 1."""
    if len(shape) > 1:
        fan = np.prod(shape) / shape[0 if first else -1]
        values = rng.standard_normal(shape, "float32") * np.float32(np.sqrt(2 / fan))
    elif name.endswith(("var", "variance")):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith(("gamma", "weight")):
        values = rng.uniform(0.2, 1.2, shape) * rng.choice([1, 1, 1, -1], shape)
    else:
        values = rng.normal(0, 0.2, shape)
    return values.astype("float32")
