"""A study of signals as nets and their panels: gradients and activations by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reslab.core.errors import UserError
from reslab.plots.figure import Axis, Panel, Series, colours, over_seeds
from reslab.studies.folder import Study
from reslab.studies.signals import norms
from reslab.studies.units import stage_ends

SHOWN = ("kernel_gradient", "image_gradient", "output_rms")
SHORT = {
    "kernel_gradient": "gradient of the kernel, L2",
    "relative_gradient": "gradient of the kernel / kernel, L2",
    "image_gradient": "gradient of the output, L2",
    "output_rms": "output, RMS",
    "output_std": "output, standard deviation",
}
LAYER = Axis("layer", whole=True)


@dataclass(frozen=True)
class Net:
    """A net over its seeds, or a run. Arrays are (seeds, layers), in order of computation."""

    label: str
    kind: str  # "residual", "plain" (its twin), "other"
    bn: bool
    layers: tuple[dict[str, Any], ...]
    entries: tuple[dict[str, Any], ...]

    @property
    def main(self) -> np.ndarray:
        """Which layers are convolutions behind each other, on no shortcut."""
        return np.array([x["kind"] == "conv" and not x["shortcut"] for x in self.layers])

    @property
    def moments(self) -> list[int]:
        """Those that all seeds have, with the first."""
        return sorted(set.intersection(*({m["at"] for m in e["moments"]} for e in self.entries)))

    def values(self, at: int, name: str) -> np.ndarray:
        rows = [next(m for m in e["moments"] if m["at"] == at) for e in self.entries]
        return np.stack([norms.decode(row, name) for row in rows])

    @property
    def unit(self) -> str:
        return "epoch" if self.entries[0]["seed"] is None else "step"

    @property
    def stopped(self) -> list[str]:
        return [
            f"seed {e['seed']}: {e['stopped']['why']}" for e in self.entries if e.get("stopped")
        ]


def read(study: Study) -> list[Net]:
    """The nets in the order in which they were measured. UserError where the study is damaged."""
    data = study.read("signals.json") or {"nets": []}
    try:
        entries = [entry for entry in data["nets"] if entry["moments"]]
        labels = list(dict.fromkeys(entry["label"] for entry in entries))
        nets = [_net([e for e in entries if e["label"] == label]) for label in labels]
        for net in nets:
            for at in net.moments:
                for name in norms.QUANTITIES:
                    if net.values(at, name).shape[1] != len(net.layers):
                        raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        file = study.path / "signals.json"
        raise UserError(f"{file} is damaged: delete it, and measure it again") from None
    return nets


def _net(entries: Sequence[dict[str, Any]]) -> Net:
    first = entries[0]
    return Net(first["label"], first["kind"], first["bn"], tuple(first["layers"]), tuple(entries))


# Panels -------------------------------------------------------------------------------------------


def _series(net: Net, at: int, what: str, name: str, number: int, shade: float = 1) -> list[Series]:
    """The convolutions as a line; those of shortcuts, and the classifier, as points."""
    values, main = net.values(at, what), net.main
    said = np.array([layer["path"] for layer in net.layers])
    where = np.array([layer["number"] for layer in net.layers])

    def some(chosen: np.ndarray, name: str, **look: Any) -> Series:
        x, words = where[chosen].tolist(), said[chosen].tolist()
        return over_seeds(name, number, x, values[:, chosen], hover=words, shade=shade, **look)

    line = some(main, name)
    return [line] if main.all() else [line, some(~main, "", width=0, marker="circle")]


def _breaks(net: Net) -> list[float]:
    rows = [layer["row"] for layer in net.layers if not layer["shortcut"]]
    return [i + 0.5 for i in stage_ends(rows)]


def panel(nets: Sequence[Net], what: str, at: int | None, title: str) -> Panel:
    """Several nets at one moment; None is the last of each."""
    series = []
    for number, net in zip(_colours(nets), nets, strict=True):
        name = net.kind if _twins(nets) else net.label
        moment = net.moments[-1] if at is None else at
        series += _series(net, moment, what, name, number)
    return Panel(title, LAYER, Axis(SHORT[what], log=True), series, breaks=_breaks(nets[0]))


def _twins(nets: Sequence[Net]) -> bool:
    return all(net.unit == "step" for net in nets)


def _colours(nets: Sequence[Net]) -> list[int]:
    """Of twins, those of a kind have one colour."""
    if _twins(nets):
        return [0 if net.kind == "residual" else 1 for net in nets]
    return colours([net.kind == "residual" for net in nets])


def _course(net: Net, what: str, unit: str, number: int, most: int = 8) -> Panel:
    """One net at its moments, later ones stronger."""
    chosen = net.moments
    if len(chosen) > most:
        places = np.linspace(0, len(chosen) - 1, most).round().astype(int)
        chosen = [chosen[i] for i in sorted(set(places.tolist()))]
    series: list[Series] = []
    for i, at in enumerate(chosen):
        shade = i / max(1, len(chosen) - 1)
        line, *_ = _series(net, at, what, f"{unit} {at}", number, shade)
        series.append(
            Series(line.name, number, line.x, line.y, gaps=line.gaps, hover=line.hover, shade=shade)
        )
    return Panel(net.label, LAYER, Axis(SHORT[what], log=True), series, breaks=_breaks(net))


def by_bn(nets: Sequence[Net]) -> list[tuple[str, list[Net]]]:
    """With batch norm, and without; runs stand all in one."""
    if not _twins(nets):
        return [("", list(nets))]
    pairs = [(f"{word} BN", [n for n in nets if n.bn is bn]) for bn, word in BN_WORDS]
    return [(title, some) for title, some in pairs if some]


BN_WORDS = ((True, "with"), (False, "without"))


def grid(nets: Sequence[Net], what: str, unit: str) -> list[list[Panel]]:
    panels = [
        _course(net, what, unit, number) for number, net in zip(_colours(nets), nets, strict=True)
    ]
    return [panels[i : i + 2] for i in range(0, len(panels), 2)]


def unit_of(study: Study) -> str:
    return str((study.read("signals.json") or {}).get("unit", "step"))
