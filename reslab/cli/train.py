"""`reslab train`: with a progress bar.

The defaults are those of `runs.options.TrainingOptions`, which is loaded only when it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli import progress
from reslab.cli.options import (
    INTERRUPTED,
    backend,
    class_and_weight,
    field_and_value,
    insecure,
    load_tensorflow,
    size_option,
    table_columns,
    use_backend,
    weight_options,
)
from reslab.cli.output import echo
from reslab.cli.train_summary import summary
from reslab.core.errors import UserError
from reslab.core.files import FOLDS_FILE, RUN_FILE, SEEDS_FILE

if TYPE_CHECKING:
    from reslab.cli.train_summary import Result
    from reslab.core.progress import Watch
    from reslab.runs.options import TrainingOptions


@click.command()
@click.argument("name", required=False)
@click.option(
    "--data",
    metavar="SOURCE",
    help="A name of `reslab list`, or a folder. With --resume: where the data are now.",
)
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
@weight_options
@click.option("--freeze-bn", is_flag=True, help="Freeze batch norm as it is in the weights.")
@click.option(
    "--recalibrate-bn", is_flag=True, help="Measure batch norm's statistics again at the end."
)
@click.option("--epochs", type=float, metavar="N", help="Length; the schedule is rescaled to it.")
@click.option("--batch", type=int, metavar="B", help="Images per step.")
@size_option
@click.option("--channels", type=int, metavar="C", help="1: grey images; 3: RGB.")
@click.option(
    "--validation",
    type=float,
    metavar="X",
    help="Validation images: a fraction or a number; 0 for none.  [default: the recipe's]",
)
@click.option(
    "--test",
    metavar="X",
    help="Test images: a fraction, a number, none, or a folder.  [default: the data's, or 0.2]",
)
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
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    metavar="K",
    help="Cross-validation: K runs, and the test error of their averaged ensemble.",
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
@click.option(
    "--track",
    metavar="NAME",
    multiple=True,
    help="Also send it to tensorboard, mlflow, wandb or trackio.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the run.")
@click.option(
    "--resume",
    "resumed",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Resume a run, also with another --batch or --remat; --epochs N starts a new run from it.",
)
@insecure
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
    folds: int | None,
    **options: Any,
) -> None:
    """Train a network, and evaluate it once.

    NAME is one of `reslab list`. The epoch is chosen on validation images. The test images are
    read once, at the end.
    """
    if resumed is not None:
        if others := _given(context) - WITH_RESUME:
            labels = ", ".join(LABELS.get(name, name) for name in sorted(others))
            raise UserError(f"--resume DIR takes no other options: the run has its {labels}")
        use_backend(backend or _backend_of(resumed))
    else:
        if name is None or data is None:
            raise UserError("give a network and data: reslab train NAME --data SOURCE")
        from reslab.runs.options import TrainingOptions
        from reslab.trackers.base import require
        from reslab.zoo import network

        if folds is not None and seeds > 1:
            raise UserError("--folds and --seeds both train several runs: leave one out")
        network(name)  # report what is wrong before Keras is loaded
        options["changes"] = dict(field_and_value(change) for change in options["changes"])
        options["class_weights"] = dict(map(class_and_weight, options["class_weights"])) or None
        chosen = TrainingOptions(**options)
        require(chosen.track)
        use_backend(backend)
    load_tensorflow()
    from reslab.core.interrupts import Interrupted

    with TrainingBar() as bar:
        try:
            if resumed is not None:
                result = _resume(resumed, data, options, bar.watch())
            else:
                result = _train(str(name), str(data), chosen, seeds, folds, bar.watch())
        except Interrupted as stop:
            bar.close()
            path = stop.path or resumed
            how = f"stopped and saved; resume with: reslab train --resume {path}"
            echo(how if path else "stopped before it began: nothing is left", err=True)
            sys.exit(INTERRUPTED)
    if not bar.started:
        echo(f"{result.path} is finished already")
    summary(result)


def _train(
    name: str, data: str, options: TrainingOptions, seeds: int, folds: int | None, watch: Watch
) -> Result:
    if folds is not None:
        from reslab.training.folds import train_folds_with

        return train_folds_with(name, data, options, folds, watch)
    if seeds > 1:
        from reslab.training.seeds import train_seeds_with

        return train_seeds_with(name, data, options, seeds, watch)
    from reslab.training import train as training

    return training.train_with(name, data, options, watch=watch)


def _resume(path: Path, data: str | None, options: Mapping[str, Any], watch: Watch) -> Result:
    from reslab.evaluation import recorded_data
    from reslab.training import folds, seeds
    from reslab.training import train as training

    several: dict[str, Callable[..., Result]] = {
        SEEDS_FILE: seeds.resume_seeds,
        FOLDS_FILE: folds.resume_folds,
    }
    names = "epochs", "out", "batch", "remat"
    given = {name: options[name] for name in names if options[name] is not None}
    if data is not None:
        recorded_data.move(path, data)
    for file, resume_several in several.items():
        if (path / file).exists():
            if given:
                named = ", ".join(f"--{name}" for name in given)
                raise UserError(f"{named} is for one run: give one of the runs in {path}")
            return resume_several(path, watch=watch)
    return training.resume(path, **given, watch=watch)


WITH_RESUME = {"resumed", "backend", "epochs", "out", "data", "batch", "remat"}
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


def _backend_of(path: Path) -> str | None:
    """The backend that the run was started on, so that --resume does not need --backend."""
    from reslab.core import records

    try:
        names = (SEEDS_FILE, FOLDS_FILE, RUN_FILE)
        file = next((path / name for name in names if (path / name).exists()), path)
        return str(records.read_json(file)["backend"])
    except (UserError, OSError, KeyError, TypeError):
        return None  # `resume` reports what is wrong with the folder
