"""The other libraries, and their networks with random weights and running statistics."""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np


@cache
def library(name: str) -> ModuleType:
    """Import torchvision, timm or keras_hub.

    torchvision's default wheel has operators compiled for CUDA, which do not load with a CPU build
    of PyTorch. No network calls them, but the import looks up two of them. These are declared
    here, without an implementation.
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

    fragment = torch.library.Library("torchvision", "FRAGMENT")
    boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for operator in ("nms", "qnms"):
        fragment.define(operator + boxes)
    return fragment


def torch_net(source: str, name: str, **options: Any) -> Any:
    """A network of torchvision or timm in evaluation mode, with random weights."""
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
    """Assign random weights to a Keras model of another library."""
    rng = np.random.default_rng(1)
    for variable in net.variables:
        if not variable.path.endswith("seed_generator_state"):
            variable.assign(random(rng, variable.path, tuple(variable.shape), first=False))
    return net


def random(rng: np.random.Generator, name: str, shape: tuple[int, ...], first: bool) -> np.ndarray:
    """Random values that preserve the scale of the signal; variances are positive.

    `first` says whether a kernel's output axis is the first (PyTorch) or the last (Keras).
    """
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
