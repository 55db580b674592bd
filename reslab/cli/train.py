"""`reslab train`: with a bar that says how it goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli import progress
from reslab.cli.options import INTERRUPTED, backend, field_and_value, load_tensorflow, use_backend
from reslab.core.errors import UserError

if TYPE_CHECKING:
    from reslab.runs.run import Run
    from reslab.training.loop import Progress, Watcher


@click.command()
@click.argument("name", required=False)
@click.option("--data", metavar="SOURCE", help="A name of `reslab list`, or a folder.")
@click.option(
    "--recipe", metavar="R", help="A name, or a .toml file.  [default: quick; or fine-tune]"
)
@click.option("--set", "changes", metavar="FIELD=VALUE", multiple=True, help="Change the recipe.")
@click.option(
    "--weights",
    metavar="SOURCE",
    help="Start from a file, another run, or timm/resnet50.a1_in1k and the like.",
)
@click.option("--freeze-bn", is_flag=True, help="Leave batch norm as the weights have it.")
@click.option(
    "--recalibrate-bn", is_flag=True, help="Measure batch norm's statistics anew at the end."
)
@click.option("--epochs", type=float, metavar="N", help="Length; the schedule is rescaled to it.")
@click.option("--batch", type=int, metavar="B", help="Images per step.")
@click.option("--size", type=int, metavar="PIXELS", help="Side of the images.")
@click.option("--images", type=int, metavar="N", help="Train on a sample of so many.")
@click.option(
    "--precision",
    metavar="P",
    default="float32",
    show_default=True,
    help="float32 or mixed (bfloat16).",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of first weights, order, augmentation."
)
@click.option(
    "--balance", is_flag=True, help="Weigh every class alike, however many images it has."
)
@click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read.")
@click.option("--keep-checkpoints", is_flag=True, help="Keep the weights of every epoch.")
@click.option(
    "--stacked/--flat",
    default=None,
    help="Units that repeat as one layer, or each layer for itself.  [default: by depth]",
)
@click.option(
    "--remat/--no-remat",
    default=None,
    help="Compute stacked units anew on the way back: slower, less memory.  [default: by memory]",
)
@click.option(
    "--jit-compile",
    is_flag=True,
    help="PyTorch: torch.compile the network, in a first step that takes long.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Threads that decode images.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the run goes.")
@click.option(
    "--resume", "resumed", type=click.Path(path_type=Path), metavar="DIR", help="Go on with a run."
)
@backend
@click.pass_context
def train(
    context: click.Context,
    name: str | None,
    data: str | None,
    changes: tuple[str, ...],
    backend: str | None,
    resumed: Path | None,
    **options: Any,
) -> None:
    """Train a network, and judge it once.

    NAME is one of `reslab list`. The epoch is chosen on validation images; the test images are
    looked at once, at the end.
    """
    if resumed is not None:
        if others := _said(context) - {"resumed", "backend"}:
            known = ", ".join(WORDS.get(name, name) for name in sorted(others))
            raise UserError(f"--resume DIR stands alone: the run knows its {known}")
        use_backend(backend or _backend_of(resumed))
    else:
        if name is None or data is None:
            raise UserError("train what on what? reslab train NAME --data SOURCE")
        from reslab.zoo import network

        network(name)  # an unknown name is answered before Keras is loaded
        use_backend(backend)
    load_tensorflow()
    from reslab.core.interrupts import Interrupted
    from reslab.training import train as training

    with TrainingBar() as bar:
        try:
            if resumed is not None:
                run = training.resume(resumed, bar.watcher())
            else:
                assert name is not None
                assert data is not None
                settings = dict(field_and_value(change) for change in changes)
                run = training.train(name, data, changes=settings, watcher=bar.watcher(), **options)
        except Interrupted:
            bar.close()
            path = bar.path or resumed
            kept = f"stopped and saved; go on with: reslab train --resume {path}"
            click.echo(kept if path else "stopped before it began: nothing is left", err=True)
            sys.exit(INTERRUPTED)
    if bar.path is None:
        click.echo(f"{run.path} is finished already")
    _summary(run)


WORDS = {"name": "network", "changes": "recipe"}


def _said(context: click.Context) -> set[str]:
    """What the command line says of the parameters."""
    given = click.core.ParameterSource.COMMANDLINE
    return {name for name in context.params if context.get_parameter_source(name) == given}


class TrainingBar(progress.Bar):
    """A progress bar over all steps, and a line for every epoch that stays."""

    def __init__(self) -> None:
        super().__init__(
            "epoch {task.fields[epoch]}",
            "{task.completed}/{task.total} steps",
            "loss {task.fields[loss]:.4f}, error {task.fields[error]}",
            "{task.fields[speed]:.0f} images/s",
        )
        self.path: Path | None = None
        self.total = 0
        self.images: dict[str, int] = {}  # of each part: what its percentages are of

    def watcher(self) -> Watcher:
        from reslab.training.loop import Watcher

        return Watcher(start=self.start, step=self.step, epoch=self.epoch)

    def start(self, run: Run, progress: Progress, total: int) -> None:
        self.path, self.total, self.images = run.path, total, run.info["data"]["counts"]
        self.say(f"{run.path}: {run.info['params']:,} parameters, {total} steps")
        for line in run.log("note"):
            self.say(line["text"])
        if progress.step:
            self.say(f"going on after step {progress.step}")
        self.task = self.bar.add_task(
            "",
            total=total,
            completed=progress.step,
            epoch=progress.epoch + 1,
            loss=0,
            error="?",
            speed=0,
        )

    def percent(self, error: float, part: str) -> str:
        from reslab.plots.format import percent

        return percent(error, self.images.get(part))

    def step(self, progress: Progress, now: dict[str, float]) -> None:
        speed = progress.seen / progress.seconds if progress.seconds else 0
        self.bar.update(
            self.task,
            completed=progress.step,
            epoch=progress.epoch + 1,
            speed=speed,
            loss=now["loss"],
            error=self.percent(now["error"], "train"),
        )

    def epoch(self, progress: Progress, line: dict[str, Any]) -> None:
        seen = ""
        if "val_error" in line:
            seen = f", validation {self.percent(line['val_error'], 'validation')}"
        self.say(
            f"epoch {line['epoch']}: loss {line['train_loss']:.4f},"
            f" error {self.percent(line['train_error'], 'train')}{seen};"
            f" {line['seconds']:.0f} s, {line['images_per_second']:.0f} images/s"
        )
        if progress.step >= self.total:
            self.close()
            self.say("trained; judging it ...")


def _summary(run: Run) -> None:
    from reslab.cli.evaluate import sentence
    from reslab.plots.format import percent

    judged, anew = run.evaluation, run.info.get("recalibration")
    if anew:
        before, after = (percent(anew[f"val_error_{when}"]) for when in ("before", "after"))
        change = "" if anew["val_error_after"] is None else f": validation {before}, then {after}"
        click.echo(f"batch norm measured anew on {anew['images']:,} training images{change}")
    click.echo(f"epoch {run.info['chosen_epoch']} chosen; {sentence(judged)}" if judged else "done")
    click.echo(f"report: {run.path / 'report.html'}")


def _backend_of(path: Path) -> str | None:
    """What the run was started on, so that --resume need not say it."""
    try:
        return str(json.loads((path / "run.json").read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # `resume` says what is wrong with the folder
