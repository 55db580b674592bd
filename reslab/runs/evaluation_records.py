"""What evaluation.json and suspects.json of a run's folder hold.

See `reslab.runs.records` for the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from reslab.core.records import Amount, AnyNumber, Count, Fraction, Number
from reslab.runs.records import Moment


class Interval(TypedDict):
    """A rate and its 95 % interval."""

    value: Fraction
    low: Fraction
    high: Fraction


class AmountInterval(TypedDict):
    """A number that is 0 or more, and its 95 % interval."""

    value: Amount
    low: Amount
    high: Amount


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


class MistakeMap(TypedDict):
    """Where a model saw a class: bytes in base64, row by row; 255 is the largest value."""

    rows: Count
    columns: Count
    values: str


class Mistake(TypedDict):
    """A wrong prediction, with its picture as a base64 PNG."""

    index: Count
    file: NotRequired[str | None]
    true: str
    predicted: str
    confidence: Fraction
    png: NotRequired[str | None]
    map: NotRequired[MistakeMap]


class SuspectsPart(TypedDict):
    """The images of a part that were examined for wrong labels."""

    split: str
    images: NotRequired[Count]
    n: Count
    of: Count
    wrong: Count
    sure: Count


class Suspect(Mistake):
    """A mistake on an image of this part."""

    split: str
    quality: NotRequired[Fraction]  # of the label: the probability of the class that it names


class Suspects(TypedDict):
    """suspects.json."""

    sure: Fraction
    parts: list[SuspectsPart]
    suspects: list[Suspect]


class LikelyLabels(TypedDict):
    """Labels that are likely wrong, from predictions of images that were not trained on."""

    method: str
    parts: list[SuspectsPart]
    suspects: list[Suspect]


class PairedPicture(TypedDict):
    """One of two pictures that look the same. `true` is its label."""

    split: str
    index: Count
    file: NotRequired[str | None]
    true: str
    png: NotRequired[str | None]


class NearPair(TypedDict):
    """A test image and the training or validation image that looks the same."""

    bits: Count
    test: PairedPicture
    other: PairedPicture


class NearDuplicates(TypedDict):
    """Test images that look like training or validation images."""

    images: Count
    of: Count
    others: Count
    others_of: Count
    count: Count
    differ: Count  # of them, those with another label
    pairs: list[NearPair]


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
    near_duplicates: NotRequired[NearDuplicates | None]


class NumberInterval(TypedDict):
    """A number and its 95 % interval."""

    value: Number
    low: Number
    high: Number


class TwoNumbers(TypedDict):
    """A number that is 0 or more, with its 95 % interval, before and after temperature scaling."""

    before: AmountInterval
    after: AmountInterval


class Temperature(TypedDict):
    """The temperature of the softmax, fitted on validation images; None if it cannot be."""

    value: Annotated[float, Meta(gt=0, le=1e6)] | None
    images: Count  # validation images
    mistakes: Count  # among them
    ece: NotRequired[TwoNumbers]
    loss: NotRequired[TwoNumbers]
    loss_change: NotRequired[NumberInterval]
    calibration: NotRequired[Calibration]  # after


class ExampleImage(Mistake):
    """An image of a class, and how much more probable its class is than the second one."""

    margin: NotRequired[Fraction]
    second: NotRequired[str]


ClassExamples = TypedDict(  # "class" is a word of Python
    "ClassExamples", {"class": str, "typical": list[ExampleImage], "doubtful": list[ExampleImage]}
)


class Examples(TypedDict):
    """The most typical and the most doubtful images of the classes."""

    images: Count  # whose features were compared
    of: Count
    classes: list[ClassExamples]


class MapChart(TypedDict):
    """The positions of the images in one map."""

    method: str
    x: list[Number]
    y: list[Number]
    explained: NotRequired[list[Fraction] | None]


class Sprite(TypedDict):
    """Small pictures side by side in one base64 JPEG."""

    side: Annotated[int, Meta(ge=1, le=1024)]
    columns: Annotated[int, Meta(ge=1, le=1024)]
    jpeg: str


class FeatureMap(TypedDict):
    """Images as points, by their features."""

    images: Count
    of: Count
    charts: list[MapChart]
    index: list[Count]
    true: list[Count]
    predicted: list[Count]
    files: NotRequired[list[str] | None]
    sprite: NotRequired[Sprite | None]


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
    temperature: NotRequired[Temperature | None]
    examples: NotRequired[Examples | None]
    map: NotRequired[FeatureMap | None]
    suspects: NotRequired[LikelyLabels | None]


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
    return _problem_of_map(evaluation.get("map"), n)


def _problem_of_map(points: Mapping[str, Any] | None, classes: int) -> str:
    if points is None:
        return ""
    n = len(points["index"])
    columns = [points["true"], points["predicted"], points.get("files") or points["index"]]
    columns += [chart[axis] for chart in points["charts"] for axis in ("x", "y")]
    if any(len(column) != n for column in columns):
        return f"its 'map' does not have {n} values for each of {n} images"
    if max([*points["true"], *points["predicted"]], default=0) >= classes:
        return f"its 'map' names more than {classes} classes"
    return ""
