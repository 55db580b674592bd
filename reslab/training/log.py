"""How far a training is: the lines of log.jsonl, and the calls of a watch."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict

from msgspec import Meta

from reslab.core.progress import Watch
from reslab.core.records import Amount, AnyNumber, Count
from reslab.training.setup import Training

WINDOW = 50  # steps between lines of the log
# Names in a checkpoint that differ from those of `Progress`.
SAVED = {"metric": "wrong", "images": "seen", "stopped_by": "stopped"}


class Sums(NamedTuple):
    """Sums over the images of an epoch up to a step."""

    loss: float = 0.0
    metric: float = 0.0
    images: int = 0


class SavedProgress(TypedDict):
    """`Progress` in a checkpoint."""

    step: Count
    epoch: Count
    loss: AnyNumber
    wrong: AnyNumber
    seen: Count
    seconds: Amount
    best: Annotated[list[AnyNumber], Meta(min_length=1, max_length=8)]
    best_epoch: Count
    log_bytes: Count
    stopped: NotRequired[str | bool]
    batch: NotRequired[Count]
    earlier_step: NotRequired[Count]
    metrics: NotRequired[list[Any]]


class SavedState(TypedDict):
    """The metadata of last.safetensors."""

    progress: SavedProgress


@dataclass
class Progress:
    """How far a training is, and the sums that its log is computed from."""

    step: int = 0  # finished steps
    epoch: int = 0  # finished epochs
    loss: float = 0.0  # sums over the images of the current epoch
    metric: float = 0.0
    images: int = 0
    seconds: float = 0.0  # spent on the current epoch
    metrics: list[Any] = field(default_factory=list)  # the state of Keras's metrics, in an epoch
    best: list[float] = field(default_factory=lambda: [math.inf, math.inf])  # the task's rank
    best_epoch: int = 0
    log_bytes: int = 0
    batch: int = 0  # the images of a step, in which the steps are counted; 0 in older checkpoints
    earlier_step: int = 0  # the highest step of the log that is counted in another batch
    stopped_by: str = ""  # what ended the training before its last step; see `Loop`

    @property
    def sums(self) -> Sums:
        return Sums(self.loss, self.metric, self.images)

    def update(self, sums: Sums) -> None:
        self.loss, self.metric, self.images = sums

    def means(self) -> tuple[float, float]:
        """Loss and metric, averaged over the images of the current epoch."""
        return self.loss / self.images, self.metric / self.images

    @property
    def speed(self) -> float | None:
        """Images per second in the current epoch."""
        return self.images / self.seconds if self.seconds else None

    def start_epoch(self) -> None:
        self.epoch += 1
        self.update(Sums())
        self.seconds, self.metrics = 0.0, []

    def to_json(self) -> dict[str, Any]:
        return {SAVED.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Progress:
        names = {saved: name for name, saved in SAVED.items()}
        if isinstance(stopped := values.get("stopped"), bool):  # checkpoints of older versions
            values = values | {"stopped": "callback" if stopped else ""}
        fields = {names.get(name, name): value for name, value in values.items()}
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__ if name in fields})


class Log:
    """Appends to the run's log.jsonl, and tells the watch."""

    def __init__(self, training: Training, watch: Watch) -> None:
        self.training, self.watch = training, watch
        self.images: dict[str, int] = training.run.info["data"]["counts"]
        self.window_from, self.window_began = Sums(), 0.0

    def note(self, text: str) -> None:
        """Something about the training that a person should know."""
        self.training.run.append(kind="note", text=text)

    def stopped(self, progress: Progress) -> None:
        """A callback or the recipe ended the training before its last step."""
        text = f"a callback stopped the training early, after epoch {progress.epoch}"
        if progress.stopped_by == "stop_after":
            epochs = self.training.recipe.stop_after
            text = (
                f"stopped early, after epoch {progress.epoch}: {epochs} "
                f"{'epoch' if epochs == 1 else 'epochs'} without a better validation result than "
                f"epoch {progress.best_epoch}"
            )
        self.note(f"{text}: step {progress.step} of {self.training.total_steps}")
        self.watch.say(text)

    def begin(self, progress: Progress) -> None:
        """Say what is trained, and with which notes."""
        run, total_steps = self.training.run, self.training.total_steps
        self.watch.say(f"{run.path}: {run.info['params']:,} parameters, {total_steps} steps")
        for line in run.log("note"):
            self.watch.say(line["text"])
        if progress.step:
            self.watch.say(f"resumed after step {progress.step}")
        self.watch.start(total_steps)

    def begin_window(self, progress: Progress) -> None:
        """Start the mean of the next line here."""
        self.window_from, self.window_began = progress.sums, time.perf_counter()

    def step(self, progress: Progress) -> None:
        """After every step: a line every `WINDOW` steps, and what the watch shows."""
        if progress.step % WINDOW == 0:
            self._write_window(progress)
        loss, metric = progress.means()
        task = self.training.task
        measured = f"loss {loss:.4f}, {task.metric} {self._describe(metric, 'train')}"
        speed = f"{progress.speed or 0:.0f} images/s"
        self.watch.step(progress.step, f"epoch {progress.epoch + 1}, {measured}, {speed}")

    def _write_window(self, progress: Progress) -> None:
        now, before = time.perf_counter(), self.window_from
        images = progress.images - before.images
        if images <= 0:
            return
        self.training.run.append(
            kind="steps",
            step=progress.step,
            epoch=round(progress.step / self.training.steps_per_epoch, 4),
            loss=(progress.loss - before.loss) / images,
            **{self.training.task.metric: (progress.metric - before.metric) / images},
            rate=self.training.rate(progress.step - 1),
            images_per_second=round(images / (now - self.window_began), 1),
        )
        self.begin_window(progress)

    def epoch(self, progress: Progress, validation: dict[str, float]) -> dict[str, Any]:
        """Append the line of an epoch whose steps are all done, and return it."""
        loss, metric = progress.means()
        line: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "step": progress.step,
            "train_loss": loss,
            f"train_{self.training.task.metric}": metric,
            "rate": self.training.rate(progress.step - 1),
            "seconds": round(progress.seconds, 3),
            "images_per_second": round(progress.speed, 1) if progress.speed else None,
            **{f"val_{name}": value for name, value in validation.items()},
        }
        self.training.run.append(kind="epoch", **line)
        return line

    def tell(self, line: dict[str, Any]) -> None:
        """Tell the watch about an epoch that is saved."""
        metric = self.training.task.metric
        text = f"epoch {line['epoch']}: loss {line['train_loss']:.4f}"
        text += f", {metric} {self._describe(line[f'train_{metric}'], 'train')}"
        if f"val_{metric}" in line:
            text += f", validation {self._describe(line[f'val_{metric}'], 'validation')}"
        self.watch.say(
            f"{text}; {line['seconds']:.0f} s, {line['images_per_second'] or 0:.0f} images/s"
        )
        self.watch.epoch(line)

    def end(self) -> None:
        """The steps are done; what follows may take a while."""
        self.watch.say("trained; now evaluating ...")

    def _describe(self, metric: float, part: str) -> str:
        return self.training.task.describe(metric, self.images.get(part))
