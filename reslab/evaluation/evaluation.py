"""Evaluation of a run on images that it has not seen: the one place that reads a test set."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reslab import data as datasets
from reslab.core.errors import UserError
from reslab.core.files import SAFE, write_json
from reslab.data import Data, Split, notes, python
from reslab.data.sources import table, web
from reslab.engines import opening
from reslab.evaluation import mistake_maps, near_duplicates, recorded_data, unseen
from reslab.evaluation.inspection import Evaluated
from reslab.evaluation.recorded_data import reload
from reslab.evaluation.scoring import outputs
from reslab.evaluation.tasks.registry import task_of
from reslab.models import saved
from reslab.runs.run import Run


def evaluate(
    run: Run | str | Path,
    data: Any = None,
    keep_seen: bool = False,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    insecure: bool = False,
) -> dict[str, Any]:
    """Evaluate a run's model on images that it was not trained on.

    Without `data` the run's own test set is read, and the result replaces `evaluation.json` in the
    run's folder. It counts how often the test set has been read. A run without a test set is
    evaluated on its validation set, and `"split"` says so.

    Args:
        run: A `Run`, the path of its folder, or an exported file, whose result is not written.
        data: Other data with the same classes: a source as in `reslab.data.load`, data in Python
            such as (images, labels), or loaded data. Its test set is read, or all of it if it has
            none. The classes are matched by name, and some may be missing. The result goes to
            `evaluation-NAME.json` in the run's folder. If it is the place to which the run's own
            data were moved, the run's own test set is read, and the run remembers the place.
        keep_seen: Keep images that the weights were trained on. By default, images of other data
            are left out if the run was trained on them, and all images that an ancestor was
            trained on: the run that the weights come from, and its own ancestors.
        columns: The columns of a table, as in `reslab.data.load`.
        skip_bad: Skip images of other data that cannot be read, instead of an error.
        insecure: Accept downloads without TLS, with an invalid certificate, or without a known
            checksum. A wrong checksum is refused in any case.

    Returns:
        What evaluation.json holds: `"n"` (images), `"loss"` (mean cross-entropy in nats),
        `"top1_error"` and `"top5_error"` (`{"value", "low", "high"}` with the 95 % Wilson interval;
        rates from 0 to 1; top-5 is None with fewer than six classes), `"accuracy"`,
        `"balanced_accuracy"`, `"per_class"`, `"confusion"` (counts; rows are true classes, columns
        predicted ones), `"confused"` (the pairs with most mistakes), `"calibration"` (the expected
        calibration error and its bins), `"mistakes"`, `"classes"`, `"split"`, `"data"`,
        `"checksum"`, `"when"`, `"command"`, `"notes"` (what was passed over or is missing),
        `"skipped"` (files that cannot be read) and `"seen"` (the `"count"` of images that the
        weights were trained on, and whether they were `"left_out"`); on the run's own data also
        `"readings"`, `"first_read"` and what the report shows of single images: `"temperature"`,
        `"examples"`, `"map"`, `"suspects"` (labels that are likely wrong; with cleanlab) and
        `"near_duplicates"` (with ImageHash). With several labels per image, instead of the errors:
        `"mean_average_precision"`, `"micro_f1"`, `"macro_f1"`, `"exact_match"`, `"per_label"` and
        others.

    Raises:
        UserError: The run has no model yet, its data have changed, the classes differ, or no
            image is left.
    """
    if not isinstance(run, Run) and opening.kind_of(Path(run)):
        from reslab.evaluation import of_files

        with web.insecure(insecure):
            file = opening.open_file(Path(run))
            return of_files.evaluate_file(file, data, keep_seen, columns, skip_bad)
    run = run if isinstance(run, Run) else Run.open(run)
    # two evaluations at once would both count one reading
    with run.only_writer(), web.insecure(insecure):
        result = compute(run, data, keep_seen, columns, skip_bad)
        store(run, result)
    return result


def store(run: Run, result: dict[str, Any], then: str = SAFE) -> None:
    """Write an evaluation into the run's folder; a UserError says what to do `then`."""
    file = "evaluation.json" if "readings" in result else f"evaluation-{result['data']}.json"
    write_json(run.path / file, result, then)


def compute(
    run: Run,
    data: Any = None,
    keep_seen: bool = False,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """What `evaluate` returns, without writing it."""
    model_path = run.trained_model()
    if data is None:
        return evaluate_on(run, reload(run), own_data=True, keep_seen=keep_seen)
    if (own := recorded_data.moved(run, data)) is not None:
        return evaluate_on(run, own, own_data=True, keep_seen=keep_seen)
    other = load_for(saved.read_card(model_path), data, columns, skip_bad)
    return evaluate_on(run, other, own_data=False, keep_seen=keep_seen)


def evaluate_on(run: Run, data: Data, own_data: bool, keep_seen: bool = False) -> dict[str, Any]:
    """The evaluation on loaded data; `own_data` says whether they are those of the run."""
    task = task_of(run.info)
    model, card = saved.load_with_card(run.model_path)
    if not own_data:
        data = task.matched(data, card, str(run.path))
    task.check(data, card, str(run.path))
    name, split = split_of(data, own_data)
    split, seen = unseen.leave_out_seen(run, split, data, own_data, keep_seen)
    probabilities = outputs(model, split)
    result = task.evaluate(probabilities, split, data, card)
    mistake_maps.add(model, split, result["mistakes"], card["classes"])
    if own_data:
        trained_on = _trained_on(run)
        result |= task.inspect(model, Evaluated(name, split, probabilities, data, trained_on))
        if name == "test" and (pairs := near_duplicates.find(split, data, trained_on)):
            result["near_duplicates"] = pairs
    result |= {"seen": seen, "split": name}
    result |= described(result, run.path, data, own_data, keep_seen)
    return result | readings(run, result["when"]) if own_data else result


def _trained_on(run: Run) -> int:
    """The images of all steps of the training, which bound the time of what is for the report."""
    steps = max((line["step"] for line in run.log("epoch")), default=0)
    return steps * int(run.info["recipe"].get("batch") or 1)


def described(
    result: Mapping[str, Any], path: Path, data: Data, own_data: bool, keep_seen: bool
) -> dict[str, Any]:
    """What an evaluation holds about its data, and the command that repeats it.

    `path` is what was evaluated: the folder of a run, or an exported file.
    """
    words = ["reslab", "evaluate", str(path)]
    if not own_data:
        words += ["--data", data.source]
        for kind, column in data.provenance.get("columns", {}).items():
            words += [table.option(kind), column]
    return {
        "notes": _notes(data, own_data, result),
        "skipped": [] if own_data else data.facts.get("skipped", []),
        "data": data.name,
        "checksum": data.checksum,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([*words, "--keep-seen"] if keep_seen else words),
    }


def _notes(data: Data, own_data: bool, result: Mapping[str, Any]) -> list[str]:
    """What a reader should know about the images of an evaluation."""
    facts = {} if own_data else {k: v for k, v in data.facts.items() if k != "missing_classes"}
    rows = result.get("per_class") or result.get("per_label") or ()
    missing = [row["class"] for row in rows if row.get("n") == 0]
    if names := result.get("labels_without_column"):
        facts["labels_without_column"] = names
    return notes.notes({**facts, "missing_classes": {"evaluated": missing}} if missing else facts)


def readings(run: Run, now: str) -> dict[str, Any]:
    """How often the run's test set has been read, and when for the first time."""
    try:
        previous = run.evaluation or {"readings": 0, "first_read": now}
    except UserError:  # damaged: the test set has been read, but it is not known when
        previous = {"first_read": None}
    return {
        "readings": previous.get("readings", 1) + 1,
        "first_read": previous.get("first_read", previous.get("when")),
    }


def load_for(
    card: Mapping[str, Any],
    data: Any,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
) -> Data:
    """Other data as the model with this card takes them. The arguments are those of `evaluate`."""
    if isinstance(data, Data):
        return data
    height, width, channels = card["image_shape"]
    if not isinstance(data, str | os.PathLike):
        return python.load(
            data,
            size=(height, width),
            channels=channels,
            validation=0,
            test=0,
            classes=card["classes"],
        )
    return datasets.load(
        data,
        size=(height, width),
        channels=channels,
        validation=0,  # nothing is trained: without a test part all images are evaluated
        test=0,
        margin=bool(card.get("view")),
        columns=columns,
        skip_bad=skip_bad,
        classes=card["classes"],
        scale=card.get("scale"),
    )


def split_of(data: Data, own_data: bool) -> tuple[str, Split]:
    """The part that is evaluated, and its name."""
    if data.test is not None:
        return "test", data.test
    if not own_data:
        return "all", data.train
    if data.validation is not None:
        return "validation", data.validation
    raise UserError(f"{data.name} has neither a test nor a validation set to evaluate on")
