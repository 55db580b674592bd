"""The loop over epochs.

Everything that a step depends on is a function of the run's description and of the step's number,
or is in the checkpoint. So a run that was killed and resumed ends with the same bits as one that
was not (on the same machine and backend).
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import closing
from typing import Any

import keras

from reslab.core.interrupts import Interrupted, stopped_by_signals
from reslab.training.callbacks import (
    Means,
    RestoredMetrics,
    UserCallbacks,
    metrics_state,
)
from reslab.training.checkpoints import Checkpoints, NotFinite
from reslab.training.feed import feed
from reslab.training.log import Log, Progress
from reslab.training.setup import Training


class Loop:
    """Trains to the end, from where the progress is."""

    def __init__(
        self, training: Training, checkpoints: Checkpoints, log: Log, callbacks: UserCallbacks
    ) -> None:
        self.training, self.checkpoints, self.log = training, checkpoints, log
        self.callbacks = callbacks
        self.progress = Progress(batch=training.batch)

    def run(self) -> None:
        """Train, then give the model the weights of the best epoch.

        Raises:
            NotFinite: The loss or a weight is not finite.
            CallbackError: A callback of the user raised an error.
            Interrupted: A signal came; the step was finished and saved.
        """
        self.log.begin(self.progress)
        with stopped_by_signals() as stop, self.checkpoints.in_background():
            self.callbacks.begin()
            if self.progress.step == 0:
                self.checkpoints.keep_epoch(self.progress)
            while not self.finished:
                self._epoch(stop)
                if stop.is_set():  # it came during the validation
                    raise Interrupted
            self.callbacks.end()
        self.log.end()
        self.checkpoints.load_best()

    @property
    def finished(self) -> bool:
        return bool(self.progress.stopped_by) or self.progress.step >= self.training.total_steps

    def _epoch(self, stop: threading.Event) -> None:
        training, progress = self.training, self.progress
        if training.rates is None:
            name = f"val_{training.task.metric}"
            results = [line[name] for line in training.run.log("epoch")]
            training.model.optimizer.learning_rate = training.recipe.plateau_rate(results)
        first = progress.epoch * training.steps_per_epoch
        start = progress.step - first
        count = min(training.steps_per_epoch, training.total_steps - first) - start
        self.callbacks.begin_epoch(progress)
        if count:
            with closing(training.batches(progress.epoch, start, count)) as batches:
                training.model.fit(
                    feed(batches),
                    steps_per_epoch=count,
                    shuffle=False,
                    verbose=0,
                    callbacks=[
                        RestoredMetrics(progress.metrics),
                        *self.callbacks.in_fit(progress, start),
                        Steps(self, stop),
                    ],
                )
        self._end_epoch()

    def _end_epoch(self) -> None:
        progress = self.progress
        validation = self._validate()
        line = self.log.epoch(progress, validation)
        self.callbacks.end_epoch(progress, validation)
        if progress.step < self.training.total_steps:
            progress.stopped_by = self._stopped_by()
        progress.start_epoch()
        self.checkpoints.keep_epoch(progress)
        self.checkpoints.save(progress)
        self.log.tell(line)

    def _stopped_by(self) -> str:
        """What ends the training after this epoch: "callback", "stop_after", or "" for nothing."""
        if self.callbacks.stop:
            return "callback"
        patience, progress = self.training.recipe.stop_after, self.progress
        waited = progress.epoch + 1 - progress.best_epoch
        return "stop_after" if patience and waited >= patience else ""

    def _validate(self) -> dict[str, float]:
        """Evaluate the epoch on the validation images, and keep its weights if it is the best."""
        training, progress = self.training, self.progress
        if training.data.validation is None:
            progress.best_epoch = progress.epoch + 1
            return {}
        self.callbacks.begin_validation()
        values = training.task.validate(
            training.main_model,
            training.data.validation,
            training.normalization,
            training.recipe.batch,
        )
        self.callbacks.end_validation(values)
        rank = training.task.rank(values)
        if rank < progress.best:
            progress.best, progress.best_epoch = rank, progress.epoch + 1
            self.checkpoints.keep_best(progress)
        return values


class Steps(keras.callbacks.Callback):
    """Counts, logs, saves and stops, step by step, inside one `fit` over the rest of an epoch."""

    def __init__(self, loop: Loop, stop: threading.Event) -> None:
        super().__init__()
        self.loop, self.stop = loop, stop
        self.means = Means(loop.training, loop.progress)
        self.began, self.seconds_before = time.perf_counter(), loop.progress.seconds
        loop.log.begin_window(loop.progress)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        loop, progress = self.loop, self.loop.progress
        sums = self.means.sums(batch, logs)
        if not math.isfinite(sums.loss):
            loss = logs.get("head_loss", logs["loss"])
            raise NotFinite(f"the loss is {loss} at step {progress.step + 1}")
        progress.step += 1
        progress.update(sums)
        progress.seconds = self.seconds_before + time.perf_counter() - self.began
        loop.log.step(progress)
        if loop.checkpoints.due() or self.stop.is_set():
            # reading Keras's property writes JAX's state back into the model
            assert self.model is loop.training.model
            progress.metrics = metrics_state(self.model)
            loop.checkpoints.save(progress)
        if self.stop.is_set():
            raise Interrupted
