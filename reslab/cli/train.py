"""`reslab train`: with a progress bar.

The defaults are those of `runs.options.TrainingOptions`, which is loaded only when it is needed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli import progress
from reslab.cli.options import (
    INTERRUPTED,
    backend,
    class_and_weight,
    field_and_value,
    load_tensorflow,
    table_columns,
    use_backend,
)
from reslab.cli.output import echo
from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE, SEEDS_FILE

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.runs.run import Run
    from reslab.training.seeds import SeedRuns


@click.command()
@click.argument("name", required=False)
@click.option("--data", metavar="SOURCE", help="A name of `reslab list`, or a folder.")
@click.option(
    "--recipe",
    metavar="R",
    help="A name of `reslab recipes`, or a .toml file.  [default: quick; or fine-tune]",
)
@click.option(
    "--set",
    "changes",
    metavar="FIELD=VALUE",
    multiple=True,
    help="Change a field of the recipe; `reslab recipes R` lists them.",
)
@click.option(
    "--weights",
    metavar="SOURCE",
    help="Start from a file, another run, or timm/resnet50.a1_in1k and the like.",
)
@click.option("--freeze-bn", is_flag=True, help="Freeze batch norm as it is in the weights.")
@click.option(
    "--recalibrate-bn", is_flag=True, help="Measure batch norm's statistics again at the end."
)
@click.option("--epochs", type=float, metavar="N", help="Length; the schedule is rescaled to it.")
@click.option("--batch", type=int, metavar="B", help="Images per step.")
@click.option("--size", type=int, metavar="PIXELS", help="Side of the images.")
@click.option("--images", type=int, metavar="N", help="Train on a sample of N images.")
@click.option(
    "--precision",
    metavar="P",
    default="float32",
    show_default=True,
    help="float32 or mixed (bfloat16).",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="For first weights, order and augmentation.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Train N runs, with the seeds from --seed on; one report with mean and deviation.",
)
@click.option("--balance", is_flag=True, help="Weight images so that every class counts the same.")
@click.option(
    "--class-weight",
    "class_weights",
    metavar="CLASS=W",
    multiple=True,
    help="Weight of a class in the loss; the others have 1.",
)
@click.option(
    "--group",
    metavar="PATTERN",
    help="A regular expression: files with the same match are one group, and stay in one part.",
)
@click.option(
    "--keep-seen", is_flag=True, help="Test also on images that --weights was trained on."
)
@click.option("--skip-bad", is_flag=True, help="Skip images that cannot be read.")
@click.option("--keep-checkpoints", is_flag=True, help="Keep the weights of every epoch.")
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0),
    metavar="S",
    default=60.0,
    show_default=True,
    help="Time between two checkpoints.",
)
@click.option(
    "--stacked/--flat",
    default=None,
    help="Build units that repeat as one layer, or every layer.  [default: by depth]",
)
@click.option(
    "--remat/--no-remat",
    default=None,
    help="Recompute activations of stacked units: less memory, slower.  [default: by memory]",
)
@click.option(
    "--jit-compile",
    is_flag=True,
    help="PyTorch: torch.compile the network, in a first step that takes a while.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Threads that decode images.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the run.")
@click.option(
    "--resume",
    "resumed",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Resume a run; with --epochs N, start a new run from a finished one.",
)
@backend
@click.pass_context
@table_columns
def train(
    context: click.Context,
    name: str | None,
    data: str | None,
    backend: str | None,
    resumed: Path | None,
    seeds: int,
    **options: Any,
) -> None:
    """Train a network, and evaluate it once.

    NAME is one of `reslab list`. The epoch is chosen on validation images. The test images are
    read once, at the end.
    """
    if resumed is not None:
        if others := _given(context) - {"resumed", "backend", "epochs", "out"}:
            labels = ", ".join(LABELS.get(name, name) for name in sorted(others))
            raise UserError(f"--resume DIR takes no other options: the run has its {labels}")
        use_backend(backend or _backend_of(resumed))
    else:
        if name is None or data is None:
            raise UserError("give a network and data: reslab train NAME --data SOURCE")
        from reslab.runs.options import TrainingOptions
        from reslab.zoo import network

        network(name)  # report what is wrong before Keras is loaded
        options["changes"] = dict(field_and_value(change) for change in options["changes"])
        options["class_weights"] = dict(map(class_and_weight, options["class_weights"])) or None
        chosen = TrainingOptions(**options)
        use_backend(backend)
    load_tensorflow()
    from reslab.core.interrupts import Interrupted
    from reslab.training import seeds as several
    from reslab.training import train as training

    with TrainingBar() as bar:
        try:
            result: Run | SeedRuns
            if resumed is not None:
                result = _resume(resumed, options["epochs"], options["out"], bar.watch())
            else:
                assert name is not None
                assert data is not None
                if seeds > 1:
                    result = several.train_seeds_with(name, data, chosen, seeds, bar.watch())
                else:
                    result = training.train_with(name, data, chosen, watch=bar.watch())
        except Interrupted as stop:
            bar.close()
            path = stop.path or resumed
            how = f"stopped and saved; resume with: reslab train --resume {path}"
            echo(how if path else "stopped before it began: nothing is left", err=True)
            sys.exit(INTERRUPTED)
    if not bar.started:
        echo(f"{result.path} is finished already")
    if isinstance(result, several.SeedRuns):
        _summary_of_seeds(result)
    else:
        _summary(result)


def _resume(path: Path, epochs: float | None, out: Path | None, watch: Watch) -> Run | SeedRuns:
    from reslab.training import seeds as several
    from reslab.training import train as training

    if not (path / SEEDS_FILE).exists():
        return training.resume(path, epochs=epochs, out=out, watch=watch)
    if epochs is not None or out is not None:
        raise UserError(f"--epochs trains one run further: give one of the runs in {path}")
    return several.resume_seeds(path, watch=watch)


LABELS = {"name": "network", "changes": "recipe"}


def _given(context: click.Context) -> set[str]:
    """The parameters that are given on the command line."""
    source = click.core.ParameterSource.COMMANDLINE
    return {name for name in context.params if context.get_parameter_source(name) == source}


class TrainingBar(progress.Bar):
    """A progress bar over all steps; lines about the run and its epochs stay above it."""

    def __init__(self) -> None:
        super().__init__("", "{task.completed}/{task.total} steps", "{task.description}")
        self.started = False
        self.total_steps = 0.0

    def watch(self) -> Watch:
        from reslab.core.progress import Watch

        return Watch(say=self.say, start=self.start, step=self.step)

    def start(self, total: float) -> None:
        self.started, self.total_steps = True, total

    def step(self, done: float, text: str) -> None:
        if self.task is None:  # after a resume the first steps must not count as fast ones
            self.task = self.bar.add_task(text, total=self.total_steps, completed=int(done))
        self.bar.update(self.task, completed=done, description=text)


def _summary(run: Run) -> None:
    from reslab.evaluation import suspects
    from reslab.evaluation.cautions import cautions
    from reslab.evaluation.tasks.registry import task_of
    from reslab.plots.format import percent

    task = task_of(run.info)
    if result := run.info.get("recalibration"):
        before, after = (result[f"val_{task.metric}_{when}"] for when in ("before", "after"))
        change = "" if after is None else f": validation {percent(before)}, then {percent(after)}"
        images = f"{result['images']:,} training images"
        echo(f"batch norm's statistics measured again on {images}{change}")
    if run.evaluation:
        chosen = f"epoch {run.info['chosen_epoch']} chosen"
        echo(f"{chosen}; {task.sentence(run.evaluation)}")
    else:
        echo("done")
    for caution in cautions(run.info, run.evaluation, run.log()):
        echo(f"caution: {caution}")
    if run.suspects and (line := suspects.sentence(run.suspects)):
        echo(line)
    echo(f"report: {run.path / 'report.html'}")


def _summary_of_seeds(result: SeedRuns) -> None:
    from reslab.evaluation.cautions import cautions
    from reslab.evaluation.tasks.registry import task_of
    from reslab.plots.format import listed
    from reslab.report.seeds import COVERS

    by_caution: dict[str, list[str]] = {}
    for run in result.runs:
        failed = run.info["status"] == "failed"
        text = f"failed: {run.info['why']}" if failed else "not evaluated"
        if run.evaluation and not failed:
            text = task_of(run.info).sentence(run.evaluation)
        echo(f"seed {run.info['seed']}: {text}")
        for caution in cautions(run.info, run.evaluation, run.log()):
            by_caution.setdefault(caution, []).append(str(run.info["seed"]))
    for caution, seeds in by_caution.items():
        echo(f"caution, seed {listed(seeds)}: {caution}")
    echo(result.sentence)
    echo(COVERS)
    echo(f"report: {result.path / 'report.html'}")


def _backend_of(path: Path) -> str | None:
    """The backend that the run was started on, so that --resume does not need --backend."""
    file = path / SEEDS_FILE
    try:
        file = file if file.exists() else path / RUN_FILE
        return str(json.loads(file.read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # `resume` reports what is wrong with the folder
