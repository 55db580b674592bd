"""What differs between tasks. Training, runs and the command line use nothing else of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from reslab.data import Data, Normalization, Split, class_names
from reslab.evaluation.inspection import Evaluated
from reslab.runs.recipe import Recipe
from reslab.spec import Network
from reslab.spec.transforms import with_classes

# Labels of a batch, as the pipeline yields them, to targets and (or None) weights of the images.
Targets = Callable[[np.ndarray], tuple[Any, np.ndarray | None]]


class Task(ABC):
    """One kind of problem: classification, and later others.

    Attributes:
        name: Its name in run.json.
        metric: The name of its metric in the log, as in "train_error" and "val_error". It is a
            mean over images, and lower is better.
        activation: The activation of a whole model's outputs: "softmax" or "sigmoid".
        sure: The confidence above which `suspects` describes a mistake.
    """

    name: str
    metric: str
    activation: str
    sure: float

    def network_for(self, network: Network, data: Data) -> Network:
        """The network with the input size and the outputs that these data need."""
        return replace(with_classes(network, len(data.classes)), input_shape=data.image_shape)

    # Training ------------------------------------------------------------------------------

    @abstractmethod
    def targets(
        self, data: Data, balance: bool = False, class_weights: Mapping[str, float] | None = None
    ) -> Targets:
        """From labels to what the loss compares with.

        Args:
            balance: Weight the images so that each class has the same total weight.
            class_weights: The weights of classes in the loss, by their names; 1 for the others.
        """

    @abstractmethod
    def loss(self, recipe: Recipe) -> keras.losses.Loss:
        """The loss of one output of the network."""

    @abstractmethod
    def metrics(self) -> list[keras.metrics.Metric]:
        """What `fit` measures beside the loss."""

    @abstractmethod
    def metric_of(self, logs: Mapping[str, float]) -> float:
        """The task's metric from the values of `metrics`."""

    @abstractmethod
    def keras_logs(self, values: Mapping[str, float]) -> dict[str, float]:
        """The loss and the metric under the names that Keras callbacks expect."""

    @abstractmethod
    def describe(self, metric: float, images: int | None) -> str:
        """The metric of a number of images as text, such as "8.7 %"."""

    # Choosing the epoch --------------------------------------------------------------------

    @abstractmethod
    def validate(
        self, model: keras.Model, split: Split, normalization: Normalization, batch: int
    ) -> dict[str, float]:
        """ "loss" and the metric of a model on a split, without augmentation."""

    @abstractmethod
    def rank(self, values: Mapping[str, float]) -> list[float]:
        """The score that chooses the epoch, from the result of `validate`: the lowest wins."""

    # The finished model --------------------------------------------------------------------

    @abstractmethod
    def check(self, data: Data, card: Mapping[str, Any], run: str) -> None:
        """Raise UserError if these data do not fit a model with this card."""

    def matched(self, data: Data, card: Mapping[str, Any], run: str) -> Data:
        """Other data with the classes of a model, by their names. Raises UserError."""
        return class_names.match(data, card["classes"], run, all_known=False)

    def decisions(
        self, model: keras.Model, data: Data, normalization: Normalization, batch: int
    ) -> dict[str, Any]:
        """What is chosen on the validation images after the training.

        The entries are stored in run.json and in the card of the model file.
        """
        return {}

    def card_of_mean(self, cards: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The card of a model whose outputs are the means of those of several models."""
        return cards[0]

    @abstractmethod
    def evaluate(
        self, outputs: np.ndarray, split: Split, data: Data, card: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What evaluation.json holds of a whole model with this card.

        Args:
            outputs: Those of the model for the raw images of the split, float (n, classes).
            split: The evaluated images.
            data: Their data.
            card: The card of the model.
        """

    def inspect(self, model: keras.Model, evaluated: Evaluated) -> dict[str, Any]:
        """More of evaluation.json, for the report, on the run's own data."""
        return {}

    @abstractmethod
    def suspects(
        self,
        model: keras.Model,
        split: Split,
        positions: np.ndarray,
        data: Data,
        normalization: Normalization,
        batch: int,
    ) -> tuple[dict[str, int], list[dict[str, Any]]]:
        """Count the mistakes among these images of a split, and describe the sure ones.

        Returns:
            The counts "wrong" and "sure", and the surest mistakes as in suspects.json. With
            several labels per image, "n" and "of" are counts of labels, and "images" of images.
        """

    @abstractmethod
    def sentence(self, evaluation: Mapping[str, Any]) -> str:
        """The main result of an evaluation."""

    @abstractmethod
    def details(self, evaluation: Mapping[str, Any]) -> list[str]:
        """The other results of an evaluation, line by line."""

    @abstractmethod
    def answers(self, outputs: np.ndarray, card: Mapping[str, Any]) -> np.ndarray:
        """The outputs of a whole model (n, classes) as labels, in the form that data have them."""

    @abstractmethod
    def predictions(
        self, output: np.ndarray, card: Mapping[str, Any], top: int | None
    ) -> list[dict[str, Any]]:
        """What `predict` returns for one image, from the model's output for it.

        Args:
            output: Of one image, float (classes,).
            card: The card of the model; "classes" are the names.
            top: The number of predictions; None for the usual ones.
        """
