"""Network + recipe + data in training: the loop, its checkpoints, and going on from one.

Everything that a step depends on is a function of the run's description and of the step's number,
or lies in the checkpoint. So a run that was killed and resumed ends with the bits of one that
was not (same machine and backend).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core import files
from reslab.core.errors import UserError
from reslab.core.interrupts import Interrupted, stopped_by_signals
from reslab.data import Data, Normalization, Pipeline, class_weights
from reslab.evaluation.scoring import score
from reslab.models import build, stacked
from reslab.models.optimizers import optimizer
from reslab.models.scopes import policy
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.spec import summary
from reslab.training import batchnorm, finetune
from reslab.training.feed import feed, source

WINDOW = 50  # steps between lines of the log


@dataclass
class Progress:
    """How far the training is, and the sums that its log is made of."""

    step: int = 0
    epoch: int = 0  # finished ones
    loss: float = 0.0  # sums over the images of the epoch under way ...
    wrong: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    best: list[float] = field(
        default_factory=lambda: [math.inf, math.inf]
    )  # validation error, loss
    best_epoch: int = 0
    log_bytes: int = 0


@dataclass
class Watcher:
    """What a person sees of the training; `step` and `epoch` are told what was measured."""

    start: Callable[[Run, Progress, int], None] = lambda run, progress, total: None
    step: Callable[[Progress, dict[str, float]], None] = lambda progress, now: None
    epoch: Callable[[Progress, dict[str, float]], None] = lambda progress, now: None


class Session:
    """One training in memory. Construction is the same for a new run and for a resumed one."""

    def __init__(
        self, run: Run, recipe: Recipe, data: Data, standard: Normalization, watcher: Watcher
    ) -> None:
        info = run.info
        self.run, self.recipe, self.data, self.watcher = run, recipe, data, watcher
        self.pipeline = Pipeline(
            data.train,
            batch=recipe.batch,
            seed=info["seed"],
            augment=recipe.augment,
            standardise=standard,
            workers=info["workers"],
        )
        self.standard = standard
        self.per_epoch = self.pipeline.steps_per_epoch
        self.total = recipe.total_steps(self.per_epoch)
        self.weights = (
            class_weights(data.train.labels, len(data.classes)) if info["balance"] else None
        )

        keras.utils.set_random_seed(info["seed"])
        self.heads = {"head": 1.0} | {f"{r}_aux": w for r, (_, w) in run.network.aux.items()}
        with precision(info["precision"]):
            self.model = build.create(
                run.network,
                aux=len(self.heads) > 1,
                stacked=info.get("stacked", False),
                remat=info.get("remat", False),
            )
        self.source = source(self.pipeline, self.model.input_shape)
        self.judged = build.main_output(self.model)
        if info.get("freeze_bn"):
            batchnorm.freeze_bn(self.model)
        rates = None
        if recipe.schedule != "plateau":
            rates = recipe.rates(self.total, summary.depth(run.network))
        entropy = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        )
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
        self.model.compile(
            optimizer=optimizer(
                recipe,
                rates,
                self.model,
                finetune.shares(recipe, run.network, self.model, self.total),
            ),
            loss=self._for_heads(entropy),
            loss_weights=self.heads if len(self.heads) > 1 else None,
            metrics={"head": [accuracy]} if len(self.heads) > 1 else [accuracy],
            jit_compile=info.get("jit_compile") or "auto",
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.rates = rates
        self.progress = Progress()
        self.saved_at = time.monotonic()
        self.write: files.Write = files.write_arrays

    def _for_heads(self, each: Any) -> Any:
        """The same for the classifier and its auxiliary heads, where there are some."""
        return dict.fromkeys(self.heads, each) if len(self.heads) > 1 else each

    # The loop ------------------------------------------------------------------------------

    def train(self) -> None:
        """Go on from where the progress stands to the end.

        Raises UserError where the loss is no number, Interrupted after a signal.
        """
        self.watcher.start(self.run, self.progress, self.total)
        with stopped_by_signals() as stop, files.behind() as self.write:
            if self.progress.step == 0:
                self._keep("epoch-0000")
            while self.progress.step < self.total:
                self._epoch(stop)
                if stop.is_set():  # it came during the validation
                    raise Interrupted
        best = self.run.checkpoints / "best.safetensors"
        if best.exists():
            _assign(files.read_arrays(best)[0], build.variables(self.model), best)

    def _epoch(self, stop: threading.Event) -> None:
        p = self.progress
        if self.rates is None:
            errors = [line["val_error"] for line in self.run.log("epoch")]
            self.model.optimizer.learning_rate = self.recipe.plateau_rate(errors)
        start = p.step - p.epoch * self.per_epoch
        count = min(self.per_epoch, self.total - p.epoch * self.per_epoch) - start
        if count:
            with closing(self._batches(p.epoch, start, count)) as batches:
                self.model.fit(
                    feed(batches),
                    steps_per_epoch=count,
                    shuffle=False,
                    verbose=0,
                    callbacks=[Steps(self, stop)],
                )
        self._end_of_epoch()

    def _batches(self, epoch: int, start: int, count: int) -> Generator[tuple[Any, ...]]:
        one_hot = np.eye(len(self.data.classes), dtype="float32")
        for x, y in islice(self.source(epoch, start), count):
            soft = one_hot[y] if y.ndim == 1 else y
            y = self._for_heads(soft)
            yield (x, y) if self.weights is None else (x, y, self._for_heads(soft @ self.weights))

    def _end_of_epoch(self) -> None:
        p = self.progress
        line: dict[str, Any] = {
            "epoch": p.epoch + 1,
            "step": p.step,
            "train_loss": p.loss / p.seen,
            "train_error": p.wrong / p.seen,
            "rate": self.rate(p.step - 1),
            "seconds": round(p.seconds, 3),
            "images_per_second": round(p.seen / p.seconds, 1) if p.seconds else None,
        }
        if self.data.validation is not None:
            seen = score(self.judged, self.data.validation, self.standard, self.recipe.batch)
            line |= {"val_loss": seen.loss, "val_error": seen.error}
            if [seen.error, seen.loss] < p.best:
                p.best, p.best_epoch = [seen.error, seen.loss], p.epoch + 1
                self._keep("best", always=True)
        else:
            p.best_epoch = p.epoch + 1
        self.run.append(kind="epoch", **line)
        p.epoch += 1
        p.loss, p.wrong, p.seen, p.seconds = 0.0, 0.0, 0, 0.0
        self._keep(f"epoch-{p.epoch:04d}")
        self.save()
        self.watcher.epoch(p, line)

    def rate(self, step: int) -> float:
        return float(self.model.optimizer.learning_rate) if self.rates is None else self.rates[step]

    # Checkpoints ---------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint that `restore` goes on from; NotFinite rather than spoil it.

        In training it may not be on the disk yet when this returns: the next one waits for it.
        """
        state = stacked.read(self._state())
        if not all(np.isfinite(array).all() for array in state.values()):
            raise NotFinite(f"the weights are not finite after step {self.progress.step}")
        self.progress.log_bytes = self.run.log_bytes
        self.write(
            self.run.checkpoints / "last.safetensors", state, {"progress": asdict(self.progress)}
        )
        self.saved_at = time.monotonic()

    def restore(self) -> None:
        """Go back to the last checkpoint, or to the beginning where there is none."""
        path = self.run.checkpoints / "last.safetensors"
        if path.exists():
            arrays, meta = files.read_arrays(path)
            _assign(arrays, self._state(), path)
            self.progress = Progress(**meta["progress"])
        self.run.cut_log(self.progress.log_bytes)

    def _state(self) -> dict[str, Any]:
        """Every variable that a step reads or writes, by a name that outlives the process."""
        own = enumerate(self.model.optimizer.variables)
        return build.variables(self.model) | {f"optimizer/{i}_{v.name}": v for i, v in own}

    def _keep(self, name: str, always: bool = False) -> None:
        """Keep the weights of this moment: the best, or, on request, those of every epoch."""
        if always or self.run.info["keep_checkpoints"]:
            path = self.run.checkpoints / f"{name}.safetensors"
            weights = stacked.read(build.variables(self.model))
            self.write(path, weights, {"step": self.progress.step})


class Steps(keras.callbacks.Callback):
    """Counts, logs, saves and stops, step by step, inside one `fit` over (the rest of) an epoch."""

    def __init__(self, session: Session, stop: threading.Event) -> None:
        super().__init__()
        self.session, self.stop = session, stop
        p = session.progress
        self.before = (p.loss, p.wrong, p.seen)  # of this epoch, before this `fit`
        self.started = self.window_started = time.perf_counter()
        self.seconds_before = p.seconds
        self.window = self.before

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        session, p = self.session, self.session.progress
        assert logs is not None
        # With auxiliary heads "loss" is the sum of all; what is shown is the classifier's own
        loss = float(logs.get("head_loss", logs["loss"]))
        accuracy = float(logs.get("head_accuracy", logs.get("accuracy", 0.0)))
        if not math.isfinite(loss):
            raise NotFinite(f"the loss is {loss} at step {p.step + 1}")
        images = (batch + 1) * session.pipeline.batch  # Keras's means run over these
        p.step += 1
        p.loss = self.before[0] + loss * images
        p.wrong = self.before[1] + (1 - accuracy) * images
        p.seen = self.before[2] + images
        p.seconds = self.seconds_before + time.perf_counter() - self.started
        if p.step % WINDOW == 0:
            self._line()
        session.watcher.step(p, {"loss": p.loss / p.seen, "error": p.wrong / p.seen})
        due = time.monotonic() - session.saved_at > session.run.info["checkpoint_seconds"]
        if due or self.stop.is_set():
            assert (
                self.model is session.model
            )  # Keras's property; JAX's state is written back first
            session.save()
        if self.stop.is_set():
            raise Interrupted

    def _line(self) -> None:
        p, now = self.session.progress, time.perf_counter()
        loss, wrong, seen = self.window
        n = p.seen - seen
        if n <= 0:  # the first line of an epoch counts from its beginning
            return
        self.session.run.append(
            kind="steps",
            step=p.step,
            epoch=round(p.step / self.session.per_epoch, 4),
            loss=(p.loss - loss) / n,
            error=(p.wrong - wrong) / n,
            rate=self.session.rate(p.step - 1),
            images_per_second=round(n / (now - self.window_started), 1),
        )
        self.window, self.window_started = (p.loss, p.wrong, p.seen), now


class NotFinite(Exception):
    """The loss or a weight is no number any more."""


def precision(name: str) -> AbstractContextManager[None]:
    """Layers made inside compute in "float32", or "mixed" (bfloat16, with float32 weights)."""
    return policy({"float32": "float32", "mixed": "mixed_bfloat16"}[name])


def _assign(arrays: files.Arrays, variables: dict[str, Any], path: Path) -> None:
    for name, variable in variables.items():
        array = arrays.get(name)
        if array is None or tuple(array.shape) != tuple(variable.shape):
            raise UserError(
                f"{path} belongs to another network: {name} is "
                f"{'missing' if array is None else array.shape}, not {tuple(variable.shape)}"
            )
    stacked.assign(variables, {name: arrays[name] for name in variables})
