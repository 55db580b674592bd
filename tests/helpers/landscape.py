"""A linear network, and models with random weights and images as if loaded from a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from reslab.models import build
from reslab.spec import Dense, Flatten, Network
from reslab.studies.trained import Images, LoadedRun

LINEAR = Network("linear", {"head": (Flatten(), Dense(3))}, (4, 4, 1))


def subject(net: Network, n: int = 40, seed: int = 0, **options: Any) -> LoadedRun:
    """Return a network with random weights, running statistics and images."""
    model = build.create(net, **options)
    rng = np.random.default_rng(seed)
    shape = model.input_shape[1:]
    images = Images(
        rng.normal(size=(n, *shape)).astype("float32"),
        rng.integers(0, net.classes, n).astype("int32"),
        f"{n} random images",
    )
    loaded = LoadedRun(SimpleNamespace(name=net.name), model, images)  # type: ignore[arg-type]
    values = {}
    for name, w in loaded.weights().items():
        if np.issubdtype(w.dtype, np.floating):
            noise = rng.normal(size=w.shape).astype("float32")
            spread = name.endswith(("gamma", "variance"))
            values[name] = 1 + 0.2 * np.abs(noise) if spread else 0.3 * noise
    loaded.assign(values)
    return loaded
