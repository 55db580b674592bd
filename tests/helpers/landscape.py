"""A linear network, and trained subjects with drawn weights and images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from reslab.models import build
from reslab.spec import Dense, Flatten, Network
from reslab.studies.trained import Images, LoadedRun

LINEAR = Network("linear", {"head": (Flatten(), Dense(3))}, (4, 4, 1))


def subject(net: Network, n: int = 40, seed: int = 0, **how: Any) -> LoadedRun:
    """A network with drawn weights and statistics, and drawn images."""
    model = build.create(net, **how)
    rng = np.random.default_rng(seed)
    shape = model.input_shape[1:]
    images = Images(
        rng.normal(size=(n, *shape)).astype("float32"),
        rng.integers(0, net.classes, n).astype("int32"),
        f"{n} drawn images",
    )
    made = LoadedRun(SimpleNamespace(name=net.name), model, images)  # type: ignore[arg-type]
    drawn = {}
    for name, w in made.weights().items():
        if np.issubdtype(w.dtype, np.floating):
            noise = rng.normal(size=w.shape).astype("float32")
            spread = name.endswith(("gamma", "variance"))
            drawn[name] = 1 + 0.2 * np.abs(noise) if spread else 0.3 * noise
    made.assign(drawn)
    return made
