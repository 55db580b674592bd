"""Several labels per image, or none: each label is a question of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.data import Data, Normalization, Split, class_names
from reslab.data.dataset import MULTILABEL
from reslab.evaluation import multilabel_metrics as metrics
from reslab.evaluation.rows import picture
from reslab.evaluation.scoring import outputs
from reslab.evaluation.suspects import A_PART
from reslab.evaluation.tasks.base import Targets, Task
from reslab.plots.format import interval, percent
from reslab.runs.recipe import Recipe

MOST_PICTURES = 240  # wrong images that are kept for the report, over all labels
A_LABEL = 12  # of a label
SURE = 0.9  # a label is contradicted surely if its probability is this far from it
SHOWN = 5  # labels that `reslab evaluate` prints


class Multilabel(Task):
    """Sigmoid, binary cross-entropy and mean average precision.

    The "error" of the log is the fraction of labels that are wrong at the threshold 0.5. The epoch
    is chosen by the mean average precision of the validation images, which needs no threshold; the
    thresholds are chosen on the same images after the training.
    """

    name = MULTILABEL
    metric = "error"
    activation = "sigmoid"
    sure = SURE

    # Training ------------------------------------------------------------------------------

    def targets(
        self, data: Data, balance: bool = False, class_weights: Mapping[str, float] | None = None
    ) -> Targets:
        """0 or 1 for each label; labels that augmentation mixed are fractions already."""
        if balance or class_weights:
            option = "--balance" if balance else "--class-weight"
            raise UserError(
                f"{option} weights images by their one class, and the images of {data.name} have "
                "several labels: leave it out"
            )

        def targets(labels: np.ndarray) -> tuple[np.ndarray, None]:
            return labels.astype("float32"), None

        return targets

    def loss(self, recipe: Recipe) -> keras.losses.Loss:
        return keras.losses.BinaryCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        )

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.MeanMetricWrapper(_accuracy, name="accuracy")]

    def metric_of(self, logs: Mapping[str, float]) -> float:
        return 1 - float(logs.get("accuracy", 0.0))

    def keras_logs(self, values: Mapping[str, float]) -> dict[str, float]:
        others = {k: v for k, v in values.items() if k not in ("loss", "error")}
        return {"loss": values["loss"], "accuracy": 1 - values["error"], **others}

    def describe(self, metric: float, images: int | None) -> str:
        return percent(metric, images)

    # Choosing the epoch --------------------------------------------------------------------

    def validate(
        self, model: keras.Model, split: Split, normalization: Normalization, batch: int
    ) -> dict[str, float]:
        """ "loss", "error" and "mean_average_precision" (0 if no image has a label)."""
        probabilities = sigmoid(outputs(model, split, normalization, batch))
        wrong = (probabilities > metrics.DEFAULT_THRESHOLD) != split.labels
        precision = metrics.mean_average_precision(probabilities, split.labels)
        return {
            "loss": metrics.cross_entropy(probabilities, split.labels),
            "error": float(wrong.mean()),
            "mean_average_precision": precision or 0.0,
        }

    def rank(self, values: Mapping[str, float]) -> list[float]:
        """The mean average precision; among equal ones the loss."""
        return [1 - values["mean_average_precision"], values["loss"]]

    # The finished model --------------------------------------------------------------------

    def decisions(
        self, model: keras.Model, data: Data, normalization: Normalization, batch: int
    ) -> dict[str, Any]:
        """The thresholds: those of the highest F1 on the validation images, else 0.5."""
        if data.validation is None:
            return {"thresholds": [metrics.DEFAULT_THRESHOLD] * len(data.classes)}
        probabilities = sigmoid(outputs(model, data.validation, normalization, batch))
        thresholds, chosen = metrics.best_thresholds(probabilities, data.validation.labels)
        return {"thresholds": thresholds, "thresholds_chosen": [data.classes[i] for i in chosen]}

    def card_of_mean(self, cards: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The thresholds are means too."""
        return {**cards[0], "thresholds": np.mean([thresholds_of(c) for c in cards], 0).tolist()}

    def matched(self, data: Data, card: Mapping[str, Any], run: str) -> Data:
        if data.task != MULTILABEL and set(data.classes) <= set(card["classes"]):
            data = class_names.as_rows(data)  # no image of a small table may have two
        return data if data.task != MULTILABEL else super().matched(data, card, run)

    def check(self, data: Data, card: Mapping[str, Any], run: str) -> None:
        if data.task != MULTILABEL:
            raise UserError(
                f"{data.name} has one class for each image, and {run} was trained on several "
                "labels: give a table with several labels"
            )
        if list(data.classes) != card["classes"]:
            raise UserError(
                f"{data.name} has the labels {', '.join(data.classes[:6])}, and {run} has "
                f"{', '.join(card['classes'][:6])}: give the data of the run"
            )

    def evaluate(
        self, outputs: np.ndarray, split: Split, data: Data, card: Mapping[str, Any]
    ) -> dict[str, Any]:
        known = np.flatnonzero((split.labels != class_names.UNKNOWN).all(0))
        probabilities = outputs[:, known]
        whole: Any = split  # a dataclass, whatever its source
        split = replace(whole, labels=whole.labels[:, known])
        classes = [data.classes[i] for i in known]
        thresholds = [thresholds_of(card)[i] for i in known]
        result = metrics.multilabel_metrics(probabilities, split.labels, classes, thresholds)
        result["mistakes"] = _most_wrong(probabilities, split, classes, thresholds)
        unknown = [name for name in data.classes if name not in classes]
        return {**result, "labels_without_column": unknown} if unknown else result

    def suspects(
        self,
        model: keras.Model,
        split: Split,
        positions: np.ndarray,
        data: Data,
        normalization: Normalization,
        batch: int,
    ) -> tuple[dict[str, int], list[dict[str, Any]]]:
        """Labels that the model contradicts, present or missing ones."""
        examined = split if len(positions) == len(split) else split.take(positions)
        probabilities = sigmoid(outputs(model, examined, normalization, batch))
        distance = np.abs(probabilities - examined.labels)
        wrong, sure = int((distance > 0.5).sum()), np.argwhere(distance > SURE)
        order = np.argsort(-distance[tuple(sure.T)], kind="stable")[:A_PART]
        rows = [
            {
                **picture(split, int(positions[i])),
                **_contradiction(data.classes[c], bool(examined.labels[i, c])),
                "confidence": float(distance[i, c]),
            }
            for i, c in sure[order].tolist()
        ]
        n, k = examined.labels.shape
        counts = {"n": n * k, "of": len(split) * k, "images": n}
        return {**counts, "wrong": wrong, "sure": len(sure)}, rows

    def sentence(self, evaluation: Mapping[str, Any]) -> str:
        """`test mean average precision 93.1 % (95 % interval 92.5 to 93.7 %) of 1,000 images`."""
        n = evaluation["n"]
        result = _with_interval(evaluation["mean_average_precision"], n)
        return f"{evaluation['split']} mean average precision {result} of {n:,} images"

    def details(self, evaluation: Mapping[str, Any]) -> list[str]:
        n = evaluation["n"]
        names = {"micro_f1": "F1 over all labels", "macro_f1": "mean F1 of the labels"}
        names |= {"exact_match": "all labels right"}
        lines = [f"{name} {_with_interval(evaluation[key], n)}" for key, name in names.items()]
        lines.append(
            f"wrong labels {percent(evaluation['label_error'], n)}, loss {evaluation['loss']:.4f}"
        )
        if evaluation["absent"]:
            lines.append(f"no image has these labels: {', '.join(evaluation['absent'])}")
        rows = [row for row in evaluation["per_label"] if row["n"]]
        for row in sorted(rows, key=lambda row: row["average_precision"]["value"])[:SHOWN]:
            lines.append(
                f"  {row['class']}: average precision "
                f"{percent(row['average_precision']['value'], n)}, precision "
                f"{percent(row['precision']['value'], n)}, recall "
                f"{percent(row['recall']['value'], n)} of {row['n']}"
            )
        return lines

    def answers(self, outputs: np.ndarray, card: Mapping[str, Any]) -> np.ndarray:
        return (outputs >= np.asarray(thresholds_of(card))).astype(np.int32)

    def predictions(
        self, output: np.ndarray, card: Mapping[str, Any], top: int | None
    ) -> list[dict[str, Any]]:
        """All labels at or above their thresholds; with `top` that many labels, whatever they are.

        The most probable label comes first.
        """
        thresholds = thresholds_of(card)
        order = np.argsort(-output, kind="stable")[:top].tolist()
        return [
            {
                "class": card["classes"][i],
                "probability": float(output[i]),
                "threshold": float(thresholds[i]),
            }
            for i in order
            if top is not None or output[i] >= thresholds[i]
        ]


TASK = Multilabel()


def _accuracy(y_true: Any, y_pred: Any) -> Any:
    """The fraction of right labels of each image (n,), from logits."""
    ops = keras.ops
    right = ops.equal(ops.cast(y_true > 0.5, "float32"), ops.cast(y_pred > 0, "float32"))
    return ops.mean(ops.cast(right, "float32"), axis=-1)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities, computed in float64 without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits.astype("float64"))))


def thresholds_of(card: Mapping[str, Any]) -> list[float]:
    """The thresholds of a model, 0.5 if its card has none."""
    thresholds: list[float] = card.get("thresholds") or [metrics.DEFAULT_THRESHOLD] * len(
        card["classes"]
    )
    return thresholds


def _with_interval(result: Mapping[str, float], n: int) -> str:
    return f"{percent(result['value'], n)} (95 % interval {interval(result, n)})"


def _contradiction(name: str, labelled: bool) -> dict[str, str]:
    """What the label is and what the model says, such as "no coat" and "coat"."""
    names = name, f"no {name}"
    return {"true": names[not labelled], "predicted": names[labelled]}


def _most_wrong(
    probabilities: np.ndarray, split: Split, classes: Sequence[str], thresholds: Sequence[float]
) -> list[dict[str, Any]]:
    """For each label the images that are most wrong about it: it is missed, or wrongly predicted.

    "confidence" is the probability of the answer that was given.
    """
    predicted = probabilities >= np.asarray(thresholds)
    each = max(2, min(A_LABEL, MOST_PICTURES // max(1, len(classes))))
    rows = []
    for c, name in enumerate(classes):
        distance = np.abs(probabilities[:, c] - split.labels[:, c])
        wrong = np.flatnonzero(predicted[:, c] != split.labels[:, c])
        for i in wrong[np.argsort(-distance[wrong], kind="stable")][:each].tolist():
            labels = [classes[j] for j in np.flatnonzero(split.labels[i]).tolist()]
            rows.append(
                {
                    **picture(split, i),
                    **_contradiction(name, bool(split.labels[i, c])),
                    "class": name,
                    "labels": labels,
                    "confidence": float(distance[i]),
                }
            )
            if len(rows) >= 2 * MOST_PICTURES:
                return rows
    return rows
