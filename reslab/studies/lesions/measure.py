"""Nets without one of their units, and with two in each other's place: Veit et al. 2016.

A network is a chain of links: stem, units, head. A residual unit is removed by zeroing the layer
that closes its body, so that its shortcut alone is left (the ReLU behind the sum stays); a plain
net's unit by leaving its link out. Two units are swapped by running one before the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.acceleration.accelerate import accelerate
from reslab.core.errors import UserError
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data
from reslab.evaluation import evaluation
from reslab.evaluation.scoring import cross_entropy
from reslab.models.scopes import without_gradients
from reslab.runs.run import Run
from reslab.spec import Gate
from reslab.studies import runs as opening
from reslab.studies import units as places
from reslab.studies.folder import Study
from reslab.studies.signals import showing
from reslab.studies.signals.norms import number
from reslab.studies.trained import Subject
from reslab.studies.units import Unit

KIND = "lesions"
IMAGES, BATCH = 2000, 128
Tensor = Any
WHOLE = ("whole", "")


@on_signals(interrupt)
def lesions(
    runs: Sequence[Run | str | Path],
    *,
    images: int = IMAGES,
    out: str | Path | None = None,
    data: Data | None = None,
    watch: Watch | None = None,
) -> Study:
    """Measure the error of trained runs without each of their units, and with neighbours swapped.

    On a sample of `images` of the validation images, of the training images where the run set none
    apart. The study goes to `out`, else to studies/lesions-RUNS; it is gone on with where it is
    there. `data` are the runs', where they are loaded already. Raises UserError for whatever does
    not fit, `session.Interrupted` after a signal.
    """
    watch = watch or Watch()
    found = opening.opened(runs)
    for run in found:
        if not places.units(run.network):
            raise UserError(f"{run.path} has no units to remove, neither residual nor a twin's")
    backend = keras.backend.backend()
    asked = {"runs": list(map(opening.known, found)), "images": images, "backend": backend}
    more = [f"{images}images"] if images != IMAGES else []
    study = Study.begin(out or opening.name(KIND, found, *more), KIND, asked, backend)
    watch.say(f"study: {study.path}")
    measured = study.read("lesions.json") or {"runs": []}
    watch.start(len(found))
    for done, run in enumerate(found):
        entry = next((e for e in measured["runs"] if e["label"] == run.name), None)
        if entry is None or entry["seen"] < entry["n"]:
            looked = _looked(run, images, data)
            if entry is None:
                entry = _entry(run, looked)
                measured["runs"].append(entry)
            for part in _measure(entry, looked):
                study.write("lesions.json", measured)
                watch.step(done + part, run.name)
            watch.say(f"{run.name}: {_error(entry['whole'], entry)} wrong when whole")
        watch.step(done + 1, run.name)
    return showing.finished(study)


def _looked(run: Run, images: int, data: Data | None) -> Subject:
    data = data or evaluation.reload(run)
    split = "train" if data.validation is None else "validation"
    return opening.flat(run, images, split, data)


def _error(found: dict[str, Any], entry: dict[str, Any]) -> str:
    return f"{100 * found['wrong'] / entry['seen']:.1f} % of {entry['seen']:,}"


def _entry(run: Run, looked: Subject) -> dict[str, Any]:
    """What is kept of a run: sums over the images seen so far."""
    units = places.units(run.network)
    rows = []
    for unit, behind in zip(units, [*units[1:], None], strict=True):
        why = _keeps(unit)
        swaps = behind is not None and places.alike(unit, behind)
        rows.append(
            {
                "unit": unit.name,
                "row": unit.row,
                "keeps": unit.keeps,
                "removed": None if why else {"wrong": 0, "loss": 0.0},
                "why": why,
                "swapped": {"wrong": 0, "loss": 0.0} if swaps else None,
                "with": behind.name if behind is not None and swaps else None,
            }
        )
    return {
        "label": run.name,
        "network": run.network.name,
        "residual": units[0].residual,
        "said": looked.images.said,
        "n": len(looked.images),
        "seen": 0,
        "whole": {"wrong": 0, "loss": 0.0},
        "units": rows,
    }


def _keeps(unit: Unit) -> str | None:
    """Why a unit cannot be removed; None where it can."""
    if unit.residual:
        return None if places.closing(unit) else "its body does not end in a layer to silence"
    return None if unit.keeps else "its shape changes, and nothing else would make it fit"


def _measure(entry: dict[str, Any], looked: Subject) -> Iterator[float]:
    """Add batch after batch to the sums; yields which part of the images is done."""
    links = chain(looked.model, places.units(looked.run.network))
    rows = {row["unit"]: row for row in entry["units"]}
    x, labels = looked.images.x, looked.images.labels
    while entry["seen"] < entry["n"]:
        here = slice(entry["seen"], entry["seen"] + BATCH)
        for (what, unit), z in lesioned(links, x[here]):
            into = entry["whole"] if what == "whole" else rows[unit][what]
            _add(into, z, labels[here])
        entry["seen"] += len(labels[here])
        yield entry["seen"] / entry["n"]


def _add(into: dict[str, Any], z: np.ndarray, labels: np.ndarray) -> None:
    """Logits that are no numbers are wrong, whatever their order."""
    right = (z.argmax(-1) == labels) & np.isfinite(z).all(-1)
    into["wrong"] += int((~right).sum())
    with np.errstate(all="ignore"):
        loss = len(labels) * cross_entropy(z, labels)
    into["loss"] = None if into["loss"] is None else number(into["loss"] + loss)


# The chain ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Link:
    """A part of a model that is a function of one tensor; a unit's, or what lies between."""

    model: keras.Model
    unit: Unit | None
    closing: Any = None  # the layer of a residual unit's body to silence

    def __call__(self, x: Tensor) -> Tensor:
        return self.model(x, training=False)

    def without(self, x: Tensor) -> Tensor | None:
        """What comes out with the unit removed; None where it cannot be."""
        if self.unit is None or _keeps(self.unit):
            return None
        if not self.unit.residual:
            return x
        with silenced(self.closing):
            return self(x)


def chain(model: keras.Model, units: Sequence[Unit]) -> list[Link]:
    """The model as links of a chain, which share its layers and their weights."""
    links: list[Link] = []
    parts = {layer.path: layer.part for unit in units for layer in unit.layers}

    def add(start: str, end: str | None, unit: Unit | None = None) -> None:
        first = _tensor(model, start, parts)
        last = model.output if end is None else _tensor(model, end, parts)
        closing = places.closing(unit) if unit is not None and unit.residual else None
        layer = None if closing is None else model.get_layer(closing.path)
        links.append(Link(accelerate(keras.Model(first, last)), unit, layer))

    at = ""
    for unit in units:
        if unit.start != at:
            add(at, unit.start)
        add(unit.start, unit.end, unit)
        at = unit.end
    add(at, None)
    return links


def _tensor(model: keras.Model, path: str, parts: dict[str, Any]) -> Tensor:
    """The output of the layers at a path of the description; "" is the image."""
    if not path:
        turned = [layer for layer in model.layers if layer.name == "to_channels_last"]
        return turned[0].output if turned else model.input
    part = parts.get(path)
    if isinstance(part, Gate):  # of several layers
        path += "_sum" if part.of == "exclusive" else "_difference"
    return model.get_layer(path).output


@contextmanager
def silenced(layer: Any) -> Iterator[None]:
    """The layer puts out zero: its scale and shift, or kernel and bias, are zero for the while."""
    kept = [(v, keras.ops.copy(v.value)) for v in layer.trainable_variables]
    try:
        for v, value in kept:
            v.assign(keras.ops.zeros_like(value))
        yield
    finally:
        for v, value in kept:
            v.assign(value)


def lesioned(links: Sequence[Link], x: np.ndarray) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Logits for a batch by ("removed" or "swapped", unit), and of the whole net, `WHOLE`.

    What comes before a unit is computed once for all.
    """
    with without_gradients():
        at = keras.ops.convert_to_tensor(x)
        for i, link in enumerate(links):
            if link.unit is not None:
                without = link.without(at)
                if without is not None:
                    yield ("removed", link.unit.name), _finish(links[i + 1 :], without)
                behind = links[i + 1]
                if behind.unit is not None and places.alike(link.unit, behind.unit):
                    yield ("swapped", link.unit.name), _finish(links[i + 2 :], link(behind(at)))
            at = link(at)
        yield WHOLE, _numpy(at)


def _finish(links: Sequence[Link], x: Tensor) -> np.ndarray:
    for link in links:
        x = link(x)
    return _numpy(x)


def _numpy(x: Tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x), "float32")
