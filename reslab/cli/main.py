"""`reslab`: the group of all commands, and how errors are printed."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import click

import reslab
from reslab.cli.ablate import ablate
from reslab.cli.advice import with_owners
from reslab.cli.benchmark import benchmark
from reslab.cli.chart import chart
from reslab.cli.degradation import degradation
from reslab.cli.draw import draw
from reslab.cli.evaluate import evaluate
from reslab.cli.explain import explain
from reslab.cli.export import export
from reslab.cli.landscape import landscape
from reslab.cli.lesions import lesions
from reslab.cli.list import list_
from reslab.cli.lr_range import lr_range
from reslab.cli.options import INTERRUPTED
from reslab.cli.output import accept_all_characters, echo
from reslab.cli.predict import predict
from reslab.cli.push import push
from reslab.cli.recipes import recipes
from reslab.cli.report import report
from reslab.cli.responses import responses
from reslab.cli.serve import serve
from reslab.cli.show import show
from reslab.cli.signals import signals
from reslab.cli.track import track
from reslab.cli.train import train
from reslab.cli.weights import weights
from reslab.core.errors import UserError, is_out_of_memory, unknown, written

SECTIONS = {
    "Train and use": (train, lr_range, evaluate, predict, report, track),
    "Take a model elsewhere": (export, benchmark, serve, push),
    "Networks, recipes and weights": (list_, show, recipes, draw, chart, weights),
    "Studies": (degradation, ablate, signals, responses, lesions, landscape, explain),
}


class Commands(click.Group):
    """A group whose help has sections, and that suggests the nearest name for an unknown one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(str(unknown("command", args[0], self.list_commands(ctx))))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list for each section. Long lines are wrapped, not cut."""
        width = max(map(len, self.commands))
        for title, commands in SECTIONS.items():
            rows = [(str(command.name).ljust(width), _summary(command)) for command in commands]
            with formatter.section(title):
                formatter.write_dl(rows)


def _summary(command: click.Command) -> str:
    """The first paragraph of a command's help. Click would cut it at "et al."."""
    return " ".join((command.help or "").split("\n\n")[0].split())


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(reslab.__version__, prog_name="reslab")
@click.pass_context
def cli(context: click.Context) -> None:
    """Residual networks for Keras 3.

    Name a network and a data set; get a trained model, evaluated on test images, and a report.

    \b
      reslab train resnet20 --data fashion-mnist --recipe quick --epochs 3
      reslab report runs/resnet20-fashion-mnist-quick-1
    """
    if context.invoked_subcommand is None:
        echo(context.get_help())


for command in (command for commands in SECTIONS.values() for command in commands):
    cli.add_command(command)


def main(args: list[str] | None = None) -> None:
    """Run a command. An error that the user can mend is one line on stderr, with exit status 2.

    So are errors of the machine: a file that cannot be read, a full disk, too little memory.
    """
    accept_all_characters()
    if args is None and not sys.warnoptions:  # a process of its own: no warning beside the line
        warnings.simplefilter("ignore")
    words = sys.argv[1:] if args is None else args
    try:
        for word in words:
            written(word)
        cli.main(args, prog_name="reslab", standalone_mode=False)
    except UserError as error:
        _fail(with_owners(str(error), cli, words))
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        _fail(f"{error.format_message().rstrip('.')} (see `{_help(context)}`)")
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `reslab list | head`
        _discard_output()
        sys.exit(0)
    except OSError as error:
        _discard_output()
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}")
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        _fail("there is not enough memory for this: try a smaller --batch or --size, or --remat")


def _discard_output() -> None:
    """Redirect stdout to the null device if it cannot be written.

    Otherwise Python flushes it again at exit, and prints a second error.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # closed by the shell
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _help(context: click.Context | None) -> str:
    return f"{context.command_path if context else 'reslab'} --help"


def _fail(message: str) -> None:
    echo(f"reslab: {' '.join(message.splitlines())}", err=True)
    sys.exit(2)
