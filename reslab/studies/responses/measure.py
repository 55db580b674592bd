"""Standard deviations of layer responses: He 2015, Sec. 4.2 and Fig. 7."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.acceleration.accelerate import accelerate
from reslab.core.errors import UserError
from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data
from reslab.models.scopes import without_gradients
from reslab.runs.run import Run
from reslab.studies import runs as opening
from reslab.studies import units
from reslab.studies.folder import Study
from reslab.studies.signals import showing
from reslab.studies.trained import Subject

KIND = "responses"
IMAGES, BATCH = 1000, 64


@on_signals(interrupt)
def responses(
    runs: Sequence[Run | str | Path],
    *,
    images: int = IMAGES,
    split: str = "train",
    out: str | Path | None = None,
    data: Data | None = None,
    watch: Watch | None = None,
) -> Study:
    """Measure the responses of every 3x3 layer of trained runs, as judged, in inference.

    On a sample of `images` of `split` ("train" or "validation"), un-augmented. The study goes to
    `out`, else to studies/responses-RUNS; it is gone on with where it is there. `data` are the
    runs', where they are loaded already. Raises UserError for whatever does not fit,
    `session.Interrupted` after a signal.
    """
    watch = watch or Watch()
    found = opening.opened(runs)
    for run in found:
        if not units.responses(run.network):
            raise UserError(f"{run.path} has no 3x3 convolution whose responses could be measured")
    if split == "test":
        raise UserError("the test images are for judging: look at those of train or validation")
    backend = keras.backend.backend()
    asked = {
        "runs": list(map(opening.known, found)),
        "images": images,
        "split": split,
        "backend": backend,
    }
    more = [split] * (split != "train") + [f"{images}images"] * (images != IMAGES)
    study = Study.begin(out or opening.name(KIND, found, *more), KIND, asked, backend)
    watch.say(f"study: {study.path}")
    measured = study.read("responses.json") or {"runs": []}
    names = {entry["label"] for entry in measured["runs"]}
    watch.start(len(found))
    for number, run in enumerate(found):
        if run.name not in names:
            entry = _measured(run, images, split, data, number, watch)
            measured["runs"].append(entry)
            study.write("responses.json", measured)
            values = entry["std"]
            watch.say(f"{run.name}: {len(values)} layers, median {np.median(values):.3g}")
        watch.step(number + 1, run.name)
    return showing.finished(study)


def _measured(
    run: Run, images: int, split: str, data: Data | None, done: int, watch: Watch
) -> dict[str, Any]:
    looked = opening.flat(run, images, split, data)
    where = units.responses(run.network)
    values = deviations(
        looked, [each.source for each in where], lambda part: watch.step(done + part, run.name)
    )
    if not np.isfinite(values).all():
        raise UserError(f"{run.path}: a response is no number; its weights do not work")
    return {
        "label": run.name,
        "network": run.network.name,
        "residual": any(unit.residual for unit in units.units(run.network)),
        "said": looked.images.said,
        "layers": [
            {**r.place.as_json(), "source": r.source, "normalised": r.normalised} for r in where
        ],
        "std": [float(f"{v:.7g}") for v in values],
    }


def deviations(
    looked: Subject, names: Sequence[str], tell: Callable[[float], None] = lambda part: None
) -> np.ndarray:
    """float64 (layers,): the standard deviation of each layer's outputs, in inference.

    Over all images, positions and maps as one set of numbers.
    """
    model = looked.model
    outputs = [model.get_layer(name).output for name in names]
    several = accelerate(keras.Model(model.input, outputs))
    x = looked.images.x
    sums, squares, count = (np.zeros(len(names)) for _ in range(3))
    for start in range(0, len(x), BATCH):
        with without_gradients():
            made = several(keras.ops.convert_to_tensor(x[start : start + BATCH]), training=False)
        for i, y in enumerate(made if len(names) > 1 else [made]):
            y = np.asarray(keras.ops.convert_to_numpy(y)).astype("float64")
            sums[i] += y.sum()
            squares[i] += np.square(y).sum()
            count[i] += y.size
        tell(min(1.0, (start + BATCH) / len(x)))
    return np.sqrt(np.maximum(squares / count - np.square(sums / count), 0))
