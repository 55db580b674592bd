"""Measure the standard deviations of layer responses: He 2015, Sec. 4.2 and Fig. 7."""

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
from reslab.studies import runs as study_runs
from reslab.studies import units
from reslab.studies.finish import finish
from reslab.studies.folder import Study
from reslab.studies.responses import page, results
from reslab.studies.trained import LoadedRun

KIND = "responses"
FILE = results.FILE
IMAGES, BATCH = 1000, 64


@on_signals(interrupt)
def measure_responses(
    runs: Sequence[Run | str | Path],
    *,
    images: int = IMAGES,
    split: str = "train",
    out: str | Path | None = None,
    data: Data | None = None,
    watch: Watch | None = None,
) -> Study:
    """Measure the responses of every 3x3 layer of trained runs, in inference.

    Args:
        runs: The runs or their folders; their final weights are used.
        images: Number of images to draw from the split. They are not augmented.
        split: "train" or "validation".
        out: Folder of the study; default: studies/responses-RUNS. An interrupted study there is
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
        if not units.response_layers(run.network):
            raise UserError(f"{run.path} has no 3x3 convolution, so there is nothing to measure")
    if split == "test":
        raise UserError("test images are kept for evaluation: use split train or validation")
    backend = keras.backend.backend()
    settings = {
        "runs": list(map(study_runs.identity, opened)),
        "images": images,
        "split": split,
        "backend": backend,
    }
    options = [split] * (split != "train") + [f"{images}images"] * (images != IMAGES)
    out = out or study_runs.study_path(KIND, opened, *options)
    study = Study.begin(out, KIND, settings, backend)
    watch.say(f"study: {study.path}")
    content = study.read(FILE) or {"runs": []}
    measured = {entry["label"] for entry in content["runs"]}
    watch.start(len(opened))
    for number, run in enumerate(opened):
        if run.name not in measured:
            entry = _measure(run, images, split, data, number, watch)
            content["runs"].append(entry)
            study.write(FILE, content)
            values = entry["std"]
            watch.say(f"{run.name}: {len(values)} layers, median {np.median(values):.3g}")
        watch.step(number + 1, run.name)
    figures, sections = page.figures(study), page.sections(study)
    return finish(study, page.TITLE, figures, sections, results.summarise(study))


def _measure(
    run: Run, images: int, split: str, data: Data | None, done: int, watch: Watch
) -> dict[str, Any]:
    loaded = study_runs.load_flat(run, images, split, data)
    layers = units.response_layers(run.network)
    values = deviations(
        loaded,
        [each.source for each in layers],
        lambda fraction: watch.step(done + fraction, run.name),
    )
    if not np.isfinite(values).all():
        raise UserError(
            f"{run.path}: a response is not finite; check the weights, or choose another run"
        )
    return {
        "label": run.name,
        "network": run.network.name,
        "residual": any(unit.residual for unit in units.units(run.network)),
        "said": loaded.images.description,
        "layers": [
            {**each.layer.as_json(), "source": each.source, "normalised": each.normalised}
            for each in layers
        ],
        "std": [float(f"{value:.7g}") for value in values],
    }


def deviations(
    loaded: LoadedRun,
    names: Sequence[str],
    report: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
    """Return the standard deviation of each layer's outputs in inference, float64 (layers,).

    All images, positions and channels of a layer count as one set of numbers. `report` receives
    the fraction of the images that are done.
    """
    model = loaded.model
    outputs = [model.get_layer(name).output for name in names]
    probe = accelerate(keras.Model(model.input, outputs))
    x = loaded.images.x
    sums, squares, count = (np.zeros(len(names)) for _ in range(3))
    for start in range(0, len(x), BATCH):
        with without_gradients():
            tensors = probe(keras.ops.convert_to_tensor(x[start : start + BATCH]), training=False)
        for i, tensor in enumerate(tensors if len(names) > 1 else [tensors]):
            y = np.asarray(keras.ops.convert_to_numpy(tensor)).astype("float64")
            sums[i] += y.sum()
            squares[i] += np.square(y).sum()
            count[i] += y.size
        report(min(1.0, (start + BATCH) / len(x)))
    return np.sqrt(np.maximum(squares / count - np.square(sums / count), 0))
