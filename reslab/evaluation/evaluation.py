"""Judging a run on images it has not seen: the one place that reads a test set."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from reslab import data as sets
from reslab.core.errors import UserError
from reslab.core.files import SAFE, write_json
from reslab.data import Data, Split
from reslab.evaluation.metrics import judge, wrong
from reslab.evaluation.scoring import predict_split
from reslab.models import saved
from reslab.runs.run import Run

MISTAKES = 48  # pictures kept for the report


def evaluate(run: Run | str | Path, data: Data | str | Path | None = None) -> dict[str, Any]:
    """The judgement of a run's model: what `evaluation.json` holds.

    Without `data`, on the test set of the run's own data (its validation set where there is no
    test set, and `split` says so), and the judgement is kept in the run. Another source is judged
    on its test set, else on all of it, and kept as `evaluation-NAME.json`. Raises UserError where
    the run has no model yet, or the classes differ.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    result = judgement(run, data)
    keep(run, result, own=data is None)
    return result


def keep(run: Run, result: dict[str, Any], own: bool, then: str = SAFE) -> None:
    """Write a judgement into the run; raises UserError, which says what to do `then`."""
    file = "evaluation.json" if own else f"evaluation-{result['data']}.json"
    write_json(run.path / file, result, then)


def judgement(run: Run, data: Data | str | Path | None = None) -> dict[str, Any]:
    """What `evaluate` keeps, without keeping it."""
    if not run.model_path.exists():
        raise UserError(f"{run.path} has no model yet: finish it with `reslab train --resume`")
    if data is None:
        return judged(run, reload(run), own=True)
    return judged(run, _load(data, saved.read_card(run.model_path)), own=False)


def judged(run: Run, found: Data, own: bool) -> dict[str, Any]:
    """`evaluate` with the data in memory; `own` says whether they are the run's."""
    model, card = saved.load_with_card(run.model_path)
    if list(found.classes) != card["classes"]:
        raise UserError(
            f"{found.name} has other classes than {run.path}: {_differ(found.classes, card)}"
        )
    name, split = _split(found, own)
    probabilities = predict_split(model, split)
    result = judge(probabilities, split.labels, found.classes)
    result |= {
        "split": name,
        "data": found.name,
        "checksum": found.checksum,
        "mistakes": _mistakes(probabilities, split, found.classes),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"reslab evaluate {run.path}" + ("" if own else f" --data {found.source}"),
    }
    if own:  # how often this set was looked at, and when for the first time
        try:
            before = run.evaluation or {"readings": 0, "first_read": result["when"]}
        except UserError:  # damaged, so that it was read is all that is known
            before = {"first_read": None}
        result |= {
            "readings": before.get("readings", 1) + 1,
            "first_read": before.get("first_read", before.get("when")),
        }
    return result


def reload(run: Run) -> Data:
    """The run's data, as they were: raises UserError where they have changed since, or where they
    were made in Python and cannot be read again."""
    if "source" not in run.info["data"]["provenance"]:
        raise UserError(f"the data of {run.path} were made in Python: only there they can be given")
    data = sets.load(**run.info["data"]["provenance"])
    if data.checksum != run.info["data"]["checksum"]:
        version = data.facts.get("version", 1)  # of glyphs, whose images reslab draws
        if version != (old := run.info["data"]["facts"].get("version", 1)):
            raise UserError(
                f"{run.path} was trained on version {old} of {data.name}, but this reslab has"
                f" version {version}: train again, or use the reslab that made the run"
            )
        raise UserError(
            f"the data of {run.path} have changed since it was started: {data.source} has checksum "
            f"{data.checksum[:12]}, not {run.info['data']['checksum'][:12]}"
        )
    return data


def _load(data: Data | str | Path, card: dict[str, Any]) -> Data:
    if isinstance(data, Data):
        return data
    height, width, channels = card["image_shape"]
    return sets.load(
        data,
        size=(height, width),
        channels=channels,
        validation=0,  # nothing is trained here: all that is no test part of its own is judged
        test=0,
        margin=bool(card["view"]),
    )


def _split(data: Data, own: bool) -> tuple[str, Split]:
    if data.test is not None:
        return "test", data.test
    if not own:
        return "all", data.train
    if data.validation is not None:
        return "validation", data.validation
    raise UserError(f"{data.name} has neither a test nor a validation set to judge on")


def _mistakes(
    probabilities: np.ndarray, split: Split, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The most confident mistakes, with their pictures as base64 PNG."""
    found = []
    for i in wrong(probabilities, split.labels, MISTAKES):
        guess = int(probabilities[i].argmax())
        found.append(
            {
                "index": int(i),
                "file": split.names[i] if split.names is not None else None,
                "true": classes[split.labels[i]],
                "predicted": classes[guess],
                "confidence": float(probabilities[i, guess]),
                "png": _png(split.images(np.array([i]))[0]),
            }
        )
    return found


def _png(image: np.ndarray) -> str:
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((96, 96))
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def _differ(classes: tuple[str, ...], card: dict[str, Any]) -> str:
    extra = [name for name in classes if name not in card["classes"]]
    missing = [name for name in card["classes"] if name not in classes]
    said = [f"{name!r} is new" for name in extra[:2]] + [
        f"{name!r} is missing" for name in missing[:2]
    ]
    return ", ".join(said) or "their order differs"
