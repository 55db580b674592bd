"""Measure networks without one of their units, and with two swapped: Veit et al. 2016.

A residual unit is removed by zeroing the layer that closes its body: its shortcut remains, and so
does the ReLU after the addition. A unit of a plain network is removed by skipping its layers. Two
units are swapped by running the second before the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data
from reslab.evaluation import recorded_data
from reslab.evaluation.scoring import cross_entropy
from reslab.runs.run import Run
from reslab.studies import runs as study_runs
from reslab.studies import units
from reslab.studies.finish import finish
from reslab.studies.folder import Study
from reslab.studies.lesions import page, results
from reslab.studies.lesions.chain import chain, lesioned, why_not_removable
from reslab.studies.signals.norms import finite
from reslab.studies.trained import LoadedRun

KIND = "lesions"
FILE = results.FILE
IMAGES, BATCH = 2000, 128


@on_signals(interrupt)
def measure_lesions(
    runs: Sequence[Run | str | Path],
    *,
    images: int = IMAGES,
    out: str | Path | None = None,
    data: Data | None = None,
    watch: Watch | None = None,
) -> Study:
    """Measure the error of trained runs without each of their units, and with neighbours swapped.

    Args:
        runs: The runs or their folders; their final weights are used.
        images: Number of validation images to draw; of training images where the run has no
            validation split.
        out: Folder of the study; default: studies/lesions-RUNS. An interrupted study there is
            continued.
        data: The data of the runs, if they are loaded already.
        watch: Receives progress.

    Raises:
        UserError: The arguments do not fit together.
        Interrupted: A signal stopped the process.
    """
    watch = watch or Watch()
    opened = study_runs.open_runs(runs)
    for run in opened:
        if not units.units(run.network):
            raise UserError(
                f"{run.path} has no units to remove: name a run of a residual network or plain twin"
            )
    backend = keras.backend.backend()
    identities = list(map(study_runs.identity, opened))
    settings = {"runs": identities, "images": images, "backend": backend}
    options = [f"{images}images"] if images != IMAGES else []
    out = out or study_runs.study_path(KIND, opened, *options)
    study = Study.begin(out, KIND, settings, backend)
    watch.say(f"study: {study.path}")
    content = study.read(FILE) or {"runs": []}
    watch.start(len(opened))
    for done, run in enumerate(opened):
        entry = next((e for e in content["runs"] if e["label"] == run.name), None)
        if entry is None or entry["seen"] < entry["n"]:
            loaded = _load(run, images, data)
            if entry is None:
                entry = _new_entry(run, loaded)
                content["runs"].append(entry)
            for fraction in _measure(entry, loaded):
                study.write(FILE, content)
                watch.step(done + fraction, run.name)
            watch.say(f"{run.name}: the whole network has an error of {_error(entry)}")
        watch.step(done + 1, run.name)
    figures, sections = page.figures(study), page.sections(study)
    return finish(study, page.TITLE, figures, sections, results.summarise(study))


def _load(run: Run, images: int, data: Data | None) -> LoadedRun:
    data = data or recorded_data.reload(run)
    split = "train" if data.validation is None else "validation"
    return study_runs.load_flat(run, images, split, data)


def _error(entry: dict[str, Any]) -> str:
    percent = 100 * entry["whole"]["wrong"] / entry["seen"]
    return f"{percent:.1f} % on {entry['seen']:,} images"


def _new_entry(run: Run, loaded: LoadedRun) -> dict[str, Any]:
    """The entry of a run in lesions.json: sums over the images that are done ("seen")."""
    its_units = units.units(run.network)
    rows = []
    for unit, after in zip(its_units, [*its_units[1:], None], strict=True):
        why = why_not_removable(unit)
        swaps = after is not None and units.swappable(unit, after)
        rows.append(
            {
                "unit": unit.name,
                "row": unit.row,
                "keeps": unit.keeps_shape,
                "removed": None if why else {"wrong": 0, "loss": 0.0},
                "why": why,
                "swapped": {"wrong": 0, "loss": 0.0} if swaps else None,
                "with": after.name if after is not None and swaps else None,
            }
        )
    return {
        "label": run.name,
        "network": run.network.name,
        "residual": its_units[0].residual,
        "said": loaded.images.description,
        "n": len(loaded.images),
        "seen": 0,
        "whole": {"wrong": 0, "loss": 0.0},
        "units": rows,
    }


def _measure(entry: dict[str, Any], loaded: LoadedRun) -> Iterator[float]:
    """Add one batch after the other to the sums; yield the fraction of the images done."""
    links = chain(loaded.model, units.units(loaded.run.network))
    rows = {row["unit"]: row for row in entry["units"]}
    x, labels = loaded.images.x, loaded.images.labels
    while entry["seen"] < entry["n"]:
        batch = slice(entry["seen"], entry["seen"] + BATCH)
        for (lesion, unit), logits in lesioned(links, x[batch]):
            sums = entry["whole"] if lesion == "whole" else rows[unit][lesion]
            _add(sums, logits, labels[batch])
        entry["seen"] += len(labels[batch])
        yield entry["seen"] / entry["n"]


def _add(sums: dict[str, Any], logits: np.ndarray, labels: np.ndarray) -> None:
    """Add a batch to the sums. Images whose logits are not finite count as wrong."""
    right = (logits.argmax(-1) == labels) & np.isfinite(logits).all(-1)
    sums["wrong"] += int((~right).sum())
    with np.errstate(all="ignore"):
        loss = len(labels) * cross_entropy(logits, labels)
    sums["loss"] = None if sums["loss"] is None else finite(sums["loss"] + loss)
