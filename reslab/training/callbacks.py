"""A user's Keras callbacks, which see all epochs as one training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.training.log import Progress, Sums
from reslab.training.setup import Training


class CallbackError(Exception):
    """A callback raised `cause`."""

    def __init__(self, callback: object, hook: str, cause: Exception) -> None:
        super().__init__(f"{type(callback).__name__}.{hook} raised {cause!r}")
        self.cause = cause


class UserCallbacks:
    """Calls the hooks of the callbacks. Each epoch is one `fit`, which they must not notice."""

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], training: Training) -> None:
        self.callbacks, self.training = list(callbacks), training
        self.epoch_logs: dict[str, float] = {}
        epochs = -(-training.total_steps // training.steps_per_epoch)
        params = {"verbose": 0, "epochs": epochs, "steps": training.steps_per_epoch}
        for callback in self.callbacks:
            callback.set_model(training.model)
            callback.set_params(params)

    def call(self, hook: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            try:
                getattr(callback, hook)(*arguments)
            except Exception as error:
                raise CallbackError(callback, hook, error) from error

    def begin(self) -> None:
        self.call("on_train_begin", {})

    def begin_epoch(self, progress: Progress) -> None:
        self.call("on_epoch_begin", progress.epoch, {})

    def begin_validation(self) -> None:
        self.call("on_test_begin", {})

    def end_validation(self, values: dict[str, float]) -> None:
        self.call("on_test_end", self.training.task.keras_logs(values))

    def end_epoch(self, progress: Progress, validation: dict[str, float]) -> None:
        """Pass loss and metric on, those of the validation images too."""
        task = self.training.task
        loss, metric = progress.means()
        logs = task.keras_logs({"loss": loss, task.metric: metric})
        if validation:
            logs |= {f"val_{k}": v for k, v in task.keras_logs(validation).items()}
        self.epoch_logs = logs
        self.call("on_epoch_end", progress.epoch, dict(logs))

    def end(self) -> None:
        self.call("on_train_end", dict(self.epoch_logs))

    @property
    def stop(self) -> bool:
        """Whether one of them has set `model.stop_training`."""
        return bool(self.callbacks and self.training.model.stop_training)

    def in_fit(self, progress: Progress, start: int) -> list[keras.callbacks.Callback]:
        """What `fit` calls for the rest of an epoch, from its step `start`; nothing without any."""
        return [_Batches(self, progress, start)] if self.callbacks else []


class _Batches(keras.callbacks.Callback):
    """Passes the hooks of batches on, numbered from the beginning of the epoch."""

    def __init__(self, users: UserCallbacks, progress: Progress, start: int) -> None:
        super().__init__()
        self.users, self.start = users, start
        self.means = Means(users.training, progress)
        self.stop = users.stop

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.stop:  # `fit` has just reset it: it ends after one step, as Keras's does
            self.users.training.model.stop_training = True

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.users.call("on_train_batch_begin", self.start + batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        own_logs = self.means.logs(batch, logs or {})
        self.users.call("on_train_batch_end", self.start + batch, own_logs)


class RestoredMetrics(keras.callbacks.Callback):
    """Adds the state of the metrics in a checkpoint to that of the first batch after a resume.

    Both are sums, so the log of the epoch has the bits of one that was not interrupted. The
    metrics do not exist before the first batch.
    """

    def __init__(self, saved: Sequence[Any]) -> None:
        super().__init__()
        self.saved = list(saved)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.saved or logs is None:
            return
        model = self.model  # reading Keras's property writes JAX's state back into the model
        try:
            for variable, value in zip(model.metrics_variables, self.saved, strict=True):
                variable.assign_add(np.asarray(value, variable.dtype).reshape(variable.shape))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"the checkpoint is damaged: its metrics are not those of this training ({error}); "
                "restore it from a copy, or train again"
            ) from None
        self.saved = []
        logs.update({name: float(value) for name, value in model.get_metrics_result().items()})


def metrics_state(model: keras.Model) -> list[Any]:
    """What `RestoredMetrics` adds, as JSON data."""
    return [keras.ops.convert_to_numpy(v).tolist() for v in model.metrics_variables]


class Means:
    """The sums of an epoch, from the means that `fit` reports.

    They are means since `fit` began, or since the epoch began where `RestoredMetrics` restores the
    state of the metrics.
    """

    def __init__(self, training: Training, progress: Progress) -> None:
        self.training, self.before, self.first = training, progress.sums, 0
        if progress.metrics:
            self.before, self.first = Sums(), progress.images

    def sums(self, batch: int, logs: dict[str, Any]) -> Sums:
        """The sums after this batch of the current `fit`."""
        own_logs = main_logs(logs)
        images = self.first + (batch + 1) * self.training.batch
        metric = self.training.task.metric_of(own_logs)
        return Sums(
            self.before.loss + float(own_logs["loss"]) * images,
            self.before.metric + metric * images,
            self.before.images + images,
        )

    def logs(self, batch: int, logs: dict[str, Any]) -> dict[str, Any]:
        """The logs of a batch as a `fit` over the whole epoch would report them."""
        own_logs = main_logs(logs)
        if not self.before.images:
            return own_logs
        sums, task = self.sums(batch, logs), self.training.task
        means = {"loss": sums.loss / sums.images, task.metric: sums.metric / sums.images}
        return own_logs | task.keras_logs(means)


def main_logs(logs: dict[str, Any]) -> dict[str, Any]:
    """Logs of the main head alone; with auxiliary heads, "loss" is the sum over all heads."""
    if "head_loss" not in logs:
        return logs
    return logs | {
        name.removeprefix("head_"): value
        for name, value in logs.items()
        if name.startswith("head_")
    }
