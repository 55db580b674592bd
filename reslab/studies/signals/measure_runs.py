"""Gradients and activations by layer of trained runs: at every kept epoch, or as judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from reslab.core.errors import UserError
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data
from reslab.runs.run import Run
from reslab.spec import BN, walk
from reslab.studies import runs as opening
from reslab.studies import trained as subjects
from reslab.studies import units as places
from reslab.studies.folder import Study
from reslab.studies.signals import norms, showing
from reslab.studies.signals.gradients import passed
from reslab.studies.signals.measure_twins import IMAGES, KIND
from reslab.studies.trained import Subject


@on_signals(interrupt)
def signals_of(
    runs: Sequence[Run | str | Path],
    *,
    images: int = IMAGES,
    out: str | Path | None = None,
    data: Data | None = None,
    watch: Watch | None = None,
) -> Study:
    """Measure gradients and activations by layer of trained runs, on un-augmented training images.

    At each epoch whose checkpoint was kept, else with the weights that were judged. The study goes
    to `out`, else to studies/signals-RUNS; it is gone on with where it is there. `data` are the
    runs', where they are loaded already. Raises UserError for whatever does not fit,
    `session.Interrupted` after a signal.
    """
    watch = watch or Watch()
    found = opening.opened(runs)
    if images < 2:
        raise UserError(f"--images {images}: at least 2")
    backend = keras.backend.backend()
    moments = [_moments(run) for run in found]
    judged = [when[-1][1] is None for when in moments]
    asked = {"runs": list(map(opening.known, found, judged)), "images": images, "backend": backend}
    more = [f"{images}images"] if images != IMAGES else []
    study = Study.begin(out or opening.name(KIND, found, *more), KIND, asked, backend)
    watch.say(f"study: {study.path}")
    measured = study.read("signals.json") or {"unit": "epoch", "nets": []}
    watch.start(sum(map(len, moments)))
    done = 0
    for run, names in zip(found, moments, strict=True):
        entry = _entry(measured, run)
        known = {moment["at"] for moment in entry["moments"]}
        left = [(epoch, name) for epoch, name in names if epoch not in known]
        done += len(names) - len(left)
        if left:
            for epoch in _measure(entry, opening.flat(run, images, "train", data), left):
                study.write("signals.json", measured)
                done += 1
                watch.step(done, f"{run.name}, epoch {epoch}")
            watch.say(f"{run.name}, epoch {entry['moments'][-1]['at']}: {norms.ends(entry)}")
    return showing.finished(study)


def _moments(run: Run) -> list[tuple[int, str | None]]:
    """(epoch, checkpoint); the judged weights are no checkpoint's."""
    kept = sorted(path.stem for path in run.checkpoints.glob("epoch-*.safetensors"))
    if kept:
        return [(int(name.removeprefix("epoch-")), name) for name in kept]
    return [(run.info.get("chosen_epoch") or 0, None)]


def _entry(measured: dict[str, Any], run: Run) -> dict[str, Any]:
    for entry in measured["nets"]:
        if entry["label"] == run.name:
            return entry
    units = places.units(run.network)
    entry = {
        "name": run.network.name,
        "label": run.name,
        "kind": "other" if not units else "residual" if units[0].residual else "plain",
        "bn": any(isinstance(layer.part, BN) for layer in walk(run.network)),
        "seed": None,
        "layers": [place.as_json() for place in places.kernels(run.network)],
        "moments": [],
        "stopped": None,
    }
    measured["nets"].append(entry)
    return entry


def _measure(
    entry: dict[str, Any], looked: Subject, left: Sequence[tuple[int, str | None]]
) -> Iterator[int]:
    """Measure the epochs that are left, and yield each."""
    entry["said"] = looked.images.said
    names = [place["path"] for place in entry["layers"]]
    for epoch, checkpoint in left:
        if checkpoint is not None:
            arrays = subjects.weights(looked.run, checkpoint)
            looked.assign({name: arrays[name] for name in looked.variables()})
        seen = passed(looked.model, names, looked.images.x, looked.images.labels)
        entry["moments"].append({"at": epoch, **norms.levels(seen)})
        yield epoch
