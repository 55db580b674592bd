"""Classification: each image belongs to exactly one class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.data import Data, Normalization, Split
from reslab.data.dataset import CLASSIFICATION
from reslab.data.splits import class_weights as balanced_weights
from reslab.data.splits import named_weights
from reslab.evaluation import inspection
from reslab.evaluation.inspection import Evaluated
from reslab.evaluation.metrics import classification_metrics, sample_mistakes
from reslab.evaluation.rows import prediction
from reslab.evaluation.scoring import outputs, score, softmax
from reslab.evaluation.suspects import A_PART, SURE, surest_mistakes
from reslab.evaluation.tasks.base import Targets, Task
from reslab.plots.format import interval, percent
from reslab.runs.recipe import Recipe

TOP = 3  # classes that `predict` returns
MISTAKES = 48  # wrong predictions whose pictures are kept for the report


class Classification(Task):
    """Softmax, cross-entropy and top-1 error."""

    name = "classification"
    metric = "error"
    activation = "softmax"
    sure = SURE

    # Training ------------------------------------------------------------------------------

    def targets(
        self, data: Data, balance: bool = False, class_weights: Mapping[str, float] | None = None
    ) -> Targets:
        """One-hot vectors; labels that augmentation mixed are vectors already."""
        one_hot = np.eye(len(data.classes), dtype="float32")
        weights = None
        if balance:
            weights = balanced_weights(data.train.labels, len(data.classes))
        elif class_weights:
            weights = named_weights(class_weights, data.classes)

        def targets(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            vectors = one_hot[labels] if labels.ndim == 1 else labels
            return vectors, None if weights is None else vectors @ weights

        return targets

    def loss(self, recipe: Recipe) -> keras.losses.Loss:
        return keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        )

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]

    def metric_of(self, logs: Mapping[str, float]) -> float:
        return 1 - float(logs.get("accuracy", 0.0))

    def keras_logs(self, values: Mapping[str, float]) -> dict[str, float]:
        return {"loss": values["loss"], "accuracy": 1 - values["error"]}

    def describe(self, metric: float, images: int | None) -> str:
        return percent(metric, images)

    # Choosing the epoch --------------------------------------------------------------------

    def validate(
        self, model: keras.Model, split: Split, normalization: Normalization, batch: int
    ) -> dict[str, float]:
        return asdict(score(model, split, normalization, batch))

    def rank(self, values: Mapping[str, float]) -> list[float]:
        """The error; among equal errors the loss."""
        return [values["error"], values["loss"]]

    # The finished model --------------------------------------------------------------------

    def matched(self, data: Data, card: Mapping[str, Any], run: str) -> Data:
        if data.task != CLASSIFICATION:
            raise UserError(
                f"{data.name} has several labels per image, and {run} was trained on one class for "
                "each image: give data with one class for each image"
            )
        return super().matched(data, card, run)

    def check(self, data: Data, card: Mapping[str, Any], run: str) -> None:
        if list(data.classes) != card["classes"]:
            difference = _difference(data.classes, card["classes"])
            raise UserError(f"{data.name} has other classes than {run}: {difference}")

    def evaluate(
        self, outputs: np.ndarray, split: Split, data: Data, card: Mapping[str, Any]
    ) -> dict[str, Any]:
        result = classification_metrics(outputs, split.labels, data.classes)
        return {**result, "mistakes": _mistakes(outputs, split, data.classes)}

    def inspect(self, model: keras.Model, evaluated: Evaluated) -> dict[str, Any]:
        return inspection.inspect(model, evaluated)

    def suspects(
        self,
        model: keras.Model,
        split: Split,
        positions: np.ndarray,
        data: Data,
        normalization: Normalization,
        batch: int,
    ) -> tuple[dict[str, int], list[dict[str, Any]]]:
        examined = split if len(positions) == len(split) else split.take(positions)
        labels = split.labels[positions]
        probabilities = softmax(outputs(model, examined, normalization, batch))
        wrong = int((probabilities.argmax(-1) != labels).sum())
        sure = surest_mistakes(probabilities, labels)
        rows = [
            prediction(split, int(positions[i]), probabilities[i], data.classes)
            for i in sure[:A_PART]
        ]
        return {"wrong": wrong, "sure": len(sure)}, rows

    def sentence(self, evaluation: Mapping[str, Any]) -> str:
        """`test error 9.10 % (95 % interval 8.55 to 9.68 %) of 10,000 images`."""
        n = evaluation["n"]
        return f"{evaluation['split']} error {_rate(evaluation['top1_error'], n)} of {n:,} images"

    def details(self, evaluation: Mapping[str, Any]) -> list[str]:
        n = evaluation["n"]
        lines = []
        if evaluation["top5_error"]:
            lines.append(f"top-5 error {_rate(evaluation['top5_error'], n)}")
        balanced = percent(evaluation["balanced_accuracy"], n)
        calibration = f"calibration error {evaluation['calibration']['ece']:.3f}"
        lines.append(f"balanced accuracy {balanced}, {calibration}, loss {evaluation['loss']:.4f}")
        by_error = sorted(evaluation["per_class"], key=lambda row: row["error"] or 0, reverse=True)
        if line := _of_temperature(evaluation.get("temperature")):
            lines.append(line)
        for row in by_error[:5]:
            lines.append(f"  {row['class']}: {percent(row['error'], row['n'])} of {row['n']} wrong")
        for pair in evaluation["confused"][:5]:
            count = f"{pair['count']} of {pair['of']}"
            lines.append(f"  {pair['true']} taken for {pair['predicted']}: {count}")
        return lines

    def answers(self, outputs: np.ndarray, card: Mapping[str, Any]) -> np.ndarray:
        return outputs.argmax(-1)

    def predictions(
        self, output: np.ndarray, card: Mapping[str, Any], top: int | None
    ) -> list[dict[str, Any]]:
        """The `top` most probable classes, 3 by default, most probable first."""
        best = np.argsort(-output, kind="stable")[: TOP if top is None else top]
        classes = card["classes"]
        return [{"class": classes[i], "probability": float(output[i])} for i in best]


TASK = Classification()


def _rate(error: Mapping[str, float], n: int) -> str:
    return f"{percent(error['value'], n)} (95 % interval {interval(error, n)})"


def _difference(classes: Sequence[str], expected: Sequence[str]) -> str:
    extra = [f"{name!r} is new" for name in classes if name not in expected]
    missing = [f"{name!r} is missing" for name in expected if name not in classes]
    return ", ".join(extra[:2] + missing[:2]) or "their order differs"


def _mistakes(
    probabilities: np.ndarray, split: Split, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """The most confident mistakes, with their pictures as base64 PNG."""
    return [
        prediction(split, int(i), probabilities[i], classes)
        for i in sample_mistakes(probabilities, split.labels, MISTAKES)
    ]


def _of_temperature(record: Mapping[str, Any] | None) -> str:
    """`temperature 1.31 from 2,976 validation images: calibration error 0.031, then 0.012`."""
    if not record or record["value"] is None:
        return ""
    before, after = (record["ece"][when]["value"] for when in ("before", "after"))
    return (
        f"temperature {record['value']:.3g} from {record['images']:,} validation images: "
        f"calibration error {before:.3f}, then {after:.3f}"
    )
