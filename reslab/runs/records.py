"""What the JSON files of a run's folder hold: names, types and ranges of the fields.

Fields that a reader cannot do without are required. Other keys are allowed: later versions may
write more, and earlier ones wrote less. The descriptions are data for `reslab.core.records.check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from reslab.core.records import Amount, AnyNumber, Count, Fraction, Number

Moment = Annotated[datetime, Meta(tz=True)]  # text of ISO 8601 in JSON
Size = Annotated[int, Meta(ge=0, le=2**24)]
# Values that a page shows as they are.
Plain = str | bool | Number | list[str | Number] | None


class Facts(TypedDict):
    """What is known about the data. A page shows every entry; these are read by name too."""

    counts: NotRequired[dict[str, dict[str, Count]]]  # of each part, by class
    identical_in_train_and_test: NotRequired[Count]
    skipped: NotRequired[Any]
    mirrors: NotRequired[bool]


class DataInfo(TypedDict):
    """The data of a run."""

    name: str
    source: str
    checksum: str
    classes: list[str]
    image_shape: list[Size | None]
    counts: dict[str, Count]
    facts: Facts
    provenance: dict[str, Any]


class WeightsInfo(TypedDict):
    """The weights that a training started from. `strict` and `ema` are there if they are False."""

    source: str
    scheme: NotRequired[str]
    scheme_given: NotRequired[bool]  # whether the user named the scheme
    strict: NotRequired[bool]
    ema: NotRequired[bool]


class RecordedBatch(TypedDict):
    """A batch and the learning rate for it."""

    batch: Annotated[int, Meta(ge=1, le=2**40)]
    rate: Amount


class ResumedWith(TypedDict):
    """What a person changed when a run was resumed."""

    batch: NotRequired[Annotated[int, Meta(ge=1, le=2**40)]]
    rate: NotRequired[Amount]
    before: NotRequired[RecordedBatch]
    remat: NotRequired[bool]


class RunInfo(TypedDict):
    """run.json."""

    format: Count
    name: str
    status: str
    backend: str
    seed: int
    network: dict[str, Any]
    recipe: dict[str, Plain]
    data: DataInfo
    task: NotRequired[str]
    command: NotRequired[str | None]
    commit: NotRequired[str | None]
    precision: NotRequired[str | None]
    why: NotRequired[str | None]
    started: NotRequired[Moment | None]
    finished: NotRequired[Moment | None]
    chosen_epoch: NotRequired[Count | None]
    thresholds: NotRequired[list[Fraction]]
    thresholds_chosen: NotRequired[list[str]]
    params: NotRequired[Count | None]
    multiply_adds: NotRequired[Count | None]
    machine: NotRequired[dict[str, Plain]]
    versions: NotRequired[dict[str, str | None]]
    weights: NotRequired[WeightsInfo | None]
    class_weights: NotRequired[dict[str, Amount] | None]
    checkpoint_seconds: NotRequired[Amount]
    workers: NotRequired[Count]
    keep_checkpoints: NotRequired[bool]
    keep_seen: NotRequired[bool]
    balance: NotRequired[bool]
    freeze_bn: NotRequired[bool]
    recalibrate_bn: NotRequired[bool]
    stacked: NotRequired[bool | None]
    remat: NotRequired[bool | None]
    resumed_with: NotRequired[list[ResumedWith]]
    jit_compile: NotRequired[bool]
    track: NotRequired[list[str]]


class LogLine(TypedDict):
    """What every line of log.jsonl holds."""

    kind: str


class EpochLine(TypedDict):
    """A line of log.jsonl about an epoch. The loss of a diverged training is not finite."""

    epoch: Count
    step: Count
    rate: NotRequired[Amount]
    seconds: NotRequired[Amount | None]
    images_per_second: NotRequired[Amount | None]
    train_loss: NotRequired[AnyNumber]
    train_error: NotRequired[AnyNumber]
    val_loss: NotRequired[AnyNumber]
    val_error: NotRequired[AnyNumber]
    val_mean_average_precision: NotRequired[AnyNumber]


class StepsLine(TypedDict):
    """A line of log.jsonl about some steps."""

    epoch: Amount
    step: Count
    rate: NotRequired[Amount]
    images_per_second: NotRequired[Amount | None]
    loss: NotRequired[AnyNumber]
    error: NotRequired[AnyNumber]


class NoteLine(TypedDict):
    """A line of log.jsonl for people."""

    text: str


LOG_LINES: Mapping[str, Any] = {"epoch": EpochLine, "steps": StepsLine, "note": NoteLine}


class Interval(TypedDict):
    """A rate and its 95 % interval."""

    value: Fraction
    low: Fraction
    high: Fraction


# The error of one class; None where it has no image. "class" is a word of Python.
ClassRow = TypedDict(
    "ClassRow",
    {
        "class": str,
        "n": Count,
        "error": Fraction | None,
        "low": NotRequired[Fraction | None],
        "high": NotRequired[Fraction | None],
    },
)


class Bin(TypedDict):
    """The images whose confidence is in an interval."""

    low: Fraction
    high: Fraction
    n: Count
    confidence: Fraction | None
    accuracy: Fraction | None


class Calibration(TypedDict):
    """How far confidence and accuracy differ."""

    ece: Fraction | None
    bins: list[Bin]


class Confused(TypedDict):
    """How often one class was predicted as another."""

    true: str
    predicted: str
    count: Count
    of: Annotated[int, Meta(ge=1, le=10**18)]


class Mistake(TypedDict):
    """A wrong prediction, with its picture as a base64 PNG."""

    index: Count
    file: NotRequired[str | None]
    true: str
    predicted: str
    confidence: Fraction
    png: NotRequired[str | None]


class Seen(TypedDict):
    """How many images the weights were trained on."""

    count: Count
    of: Count
    by_this_run: Count
    left_out: bool


class Evaluation(TypedDict):
    """What evaluation.json holds for every task."""

    n: Count
    split: NotRequired[str]
    data: NotRequired[str | None]
    checksum: NotRequired[str | None]
    when: NotRequired[Moment | None]
    command: NotRequired[str | None]
    readings: NotRequired[Count]
    first_read: NotRequired[Moment | None]
    seen: NotRequired[Seen]
    loss: NotRequired[AnyNumber | None]


class ClassificationEvaluation(Evaluation):
    """What evaluation.json holds for classification."""

    top1_error: Interval
    top5_error: NotRequired[Interval | None]
    accuracy: NotRequired[Fraction | None]
    balanced_accuracy: NotRequired[Fraction | None]
    classes: list[str]
    per_class: list[ClassRow]
    confusion: list[list[Count]]
    confused: list[Confused]
    calibration: Calibration
    mistakes: NotRequired[list[Mistake]]


class UndefinedInterval(TypedDict):
    """A result and its 95 % interval; None where there is nothing to measure it on."""

    value: Fraction | None
    low: Fraction | None
    high: Fraction | None


LabelRow = TypedDict(  # the results of one label; "class" is a word of Python
    "LabelRow",
    {
        "class": str,
        "n": Count,
        "predicted": Count,
        "threshold": Fraction,
        "average_precision": UndefinedInterval,
        "precision": UndefinedInterval,
        "recall": UndefinedInterval,
        "f1": UndefinedInterval,
    },
)
LabelMistake = TypedDict(
    "LabelMistake",
    {
        "class": str,
        "labels": list[str],
        "index": Count,
        "file": NotRequired[str | None],
        "true": str,
        "predicted": str,
        "confidence": AnyNumber,
        "png": NotRequired[str | None],
    },
)


class MultilabelEvaluation(Evaluation):
    """What evaluation.json holds for several labels per image."""

    mean_average_precision: UndefinedInterval
    micro_f1: UndefinedInterval
    macro_f1: UndefinedInterval
    exact_match: Interval
    label_error: Fraction
    without_label: Count
    without_prediction: Count
    absent: list[str]
    classes: list[str]
    per_label: list[LabelRow]
    cooccurrence: list[list[Count]]
    curves: list[list[list[Fraction]]]
    mistakes: NotRequired[list[LabelMistake]]


EVALUATIONS: Mapping[str, Any] = {
    "classification": ClassificationEvaluation,
    "multilabel": MultilabelEvaluation,
}


class SuspectsPart(TypedDict):
    """The images of a part that were examined for wrong labels."""

    split: str
    images: NotRequired[Count]
    n: Count
    of: Count
    wrong: Count
    sure: Count


class Suspect(Mistake):
    """A mistake on a training or validation image."""

    split: str


class Suspects(TypedDict):
    """suspects.json."""

    sure: Fraction
    parts: list[SuspectsPart]
    suspects: list[Suspect]


class TrainedOn(TypedDict):
    """The metadata of training-images.safetensors."""

    unknown: NotRequired[list[str]]


def problem_of(evaluation: Mapping[str, Any]) -> str:
    """What does not fit together in an evaluation; "" if all does."""
    n = len(evaluation["classes"])
    if "per_label" in evaluation:
        lengths = {len(evaluation[name]) for name in ("per_label", "curves", "cooccurrence")}
        lengths |= {len(row) for row in evaluation["cooccurrence"]}
        return "" if lengths == {n} else f"its tables do not have {n} rows, one for each label"
    if len(evaluation["per_class"]) != n:
        return f"{len(evaluation['per_class'])} rows in 'per_class' for {n} classes"
    if [len(row) for row in evaluation["confusion"]] != [n] * n:
        return f"'confusion' is not a table of {n} x {n}"
    return ""
