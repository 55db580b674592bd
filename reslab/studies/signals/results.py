"""The measurements of a study of signals, read from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reslab.core.errors import UserError
from reslab.studies.folder import Study
from reslab.studies.signals import norms

FILE = "signals.json"


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network over its seeds, or a run. Arrays are (seeds, layers), in order of computation."""

    label: str
    kind: str  # "residual", "plain" (its twin), "other"
    bn: bool
    layers: tuple[dict[str, Any], ...]
    entries: tuple[dict[str, Any], ...]  # one for each seed

    @property
    def main(self) -> np.ndarray:
        """A mask of the layers: the convolutions that are not on a shortcut."""
        return np.array([x["kind"] == "conv" and not x["shortcut"] for x in self.layers])

    @property
    def moments(self) -> list[int]:
        """The steps or epochs that were measured for every seed."""
        return sorted(set.intersection(*({m["at"] for m in e["moments"]} for e in self.entries)))

    def values(self, at: int, quantity: str) -> np.ndarray:
        """Return a quantity at a moment, (seeds, layers)."""
        rows = [next(m for m in e["moments"] if m["at"] == at) for e in self.entries]
        return np.stack([norms.decode(row, quantity) for row in rows])

    def ratio(self, at: int, quantity: str) -> float:
        """Return the first layer's value over the last convolution's, as a median over seeds."""
        values = self.values(at, quantity)[:, self.main]
        with np.errstate(all="ignore"):
            return float(np.median(values[:, 0]) / np.median(values[:, -1]))

    @property
    def unit(self) -> str:
        """The unit of the moments: "epoch" for runs, "step" for twins."""
        return "epoch" if self.entries[0]["seed"] is None else "step"

    @property
    def stopped(self) -> list[str]:
        """Why the training of a seed ended early, one sentence per seed that did."""
        return [
            f"seed {e['seed']}: {e['stopped']['why']}" for e in self.entries if e.get("stopped")
        ]


def read(study: Study) -> list[MeasuredNetwork]:
    """Return the networks in the order of measurement. Raises UserError if the file is damaged."""
    content = study.read(FILE) or {"nets": []}
    try:
        entries = [entry for entry in content["nets"] if entry["moments"]]
        labels = list(dict.fromkeys(entry["label"] for entry in entries))
        networks = [_network([e for e in entries if e["label"] == label]) for label in labels]
        for network in networks:
            for at in network.moments:
                for quantity in norms.QUANTITIES:
                    if network.values(at, quantity).shape[1] != len(network.layers):
                        raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        file = study.path / FILE
        raise UserError(f"{file} is damaged: delete it and measure again") from None
    return networks


def _network(entries: Sequence[dict[str, Any]]) -> MeasuredNetwork:
    first = entries[0]
    layers, entries = tuple(first["layers"]), tuple(entries)
    return MeasuredNetwork(first["label"], first["kind"], first["bn"], layers, entries)


def unit_of(study: Study) -> str:
    """Return the unit of the study's moments: "step" or "epoch"."""
    return str((study.read(FILE) or {}).get("unit", "step"))


def not_positive(values: np.ndarray) -> int:
    """Count the values that are zero, negative or not finite."""
    return int((~np.isfinite(values) | (values <= 0)).sum())


def summarise(study: Study) -> dict[str, Any]:
    """Return the first and last gradient norms and their ratio, for each network and moment."""
    rows = []
    for network in read(study):
        for at in network.moments:
            values = network.values(at, "kernel_gradient")[:, network.main]
            rows.append(
                {
                    "net": network.label,
                    unit_of(study): at,
                    "first": norms.finite(float(np.median(values[:, 0]))),
                    "last": norms.finite(float(np.median(values[:, -1]))),
                    "outputs_first_over_last": norms.finite(network.ratio(at, "image_gradient")),
                    "not_positive": not_positive(values),
                }
            )
    return {"nets": rows}
