"""What most commands share: `--json`, `--backend`, `--insecure`, and loading the backend."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from reslab.core.errors import UserError, unknown

INTERRUPTED = 130  # the exit status that shells give a command stopped by Ctrl-C
BACKENDS = ("torch", "jax", "tensorflow")

TABLE_COLUMNS = {
    "image": "the paths of the images",
    "label": "the classes",
    "split": "the parts: train, val or test",
    "group": "what belongs together, and stays in one part",
}
SEVERAL_LABELS = {
    "columns": ("A,B,C", "Of a table: columns of 0 and 1, one for each class; also patterns."),
    "separator": ("TEXT", "Of a table: what stands between several labels of an image."),
}

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def backend(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--backend` to a command."""
    return click.option(
        "--backend",
        metavar="NAME",
        help="torch, jax or tensorflow.  [default: KERAS_BACKEND, keras.json, then torch]",
    )(command)


def _waive(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given:
        from reslab.data.sources import web

        context.with_resource(web.insecure())


insecure = click.option(
    "--insecure",
    is_flag=True,
    expose_value=False,
    callback=_waive,
    help="Accept downloads without TLS, or without a known checksum.",
)


network_weights = click.option(
    "--weights",
    metavar="W",
    help="timm/NAME, torchvision/VERSION, keras/imagenet, hf://USER/NAME, or a file.",
)


def weight_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--scheme`, `--no-strict` and `--ema/--no-ema` to a command with `--weights`."""
    for option in (
        click.option(
            "--ema/--no-ema",
            "ema",
            default=True,
            show_default=True,
            help="Of --weights with averages over training steps: take the averages.",
        ),
        click.option(
            "--strict/--no-strict",
            "strict",
            default=True,
            show_default=True,
            help="Refuse --weights that fit only in part, or load what fits.",
        ),
        click.option(
            "--scheme",
            metavar="SCHEME",
            default="auto",
            show_default=True,
            help="The library whose names --weights has.",
        ),
    ):
        command = option(command)
    return command


def table_columns(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each column of a table; the command gets them as the mapping `columns`."""

    @functools.wraps(command)
    def with_columns(*context: Any, **options: Any) -> Any:
        names = {kind: options.pop(f"{kind}_column") for kind in TABLE_COLUMNS}
        names |= {f"label_{what}": options.pop(f"label_{what}") for what in SEVERAL_LABELS}
        given = {kind: name for kind, name in names.items() if name is not None}
        return command(*context, **options, columns=given or None)

    for what, (metavar, text) in reversed(SEVERAL_LABELS.items()):
        option = click.option(f"--label-{what}", metavar=metavar, help=text)
        with_columns = option(with_columns)
    for kind, what in reversed(TABLE_COLUMNS.items()):
        option = click.option(f"--{kind}-column", metavar="NAME", help=f"Of a table: {what}.")
        with_columns = option(with_columns)
    return with_columns


def use_backend(name: str | None) -> None:
    """Choose Keras's backend; call this before Keras is imported.

    Raises UserError for an unknown backend, or for one that is not installed.
    """
    chosen = name or os.environ.get("KERAS_BACKEND")
    if chosen is None:
        raise UserError('no backend is installed: pip install "reslab[torch]"')
    if chosen not in BACKENDS:
        raise unknown("backend", chosen, BACKENDS)
    if importlib.util.find_spec(chosen) is None:
        raise UserError(f'{chosen} is not installed: pip install "reslab[{chosen}]"')
    os.environ["KERAS_BACKEND"] = chosen
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if chosen == "tensorflow":
        load_tensorflow()


def load_tensorflow() -> None:
    """Import TensorFlow, if it is installed, without the banner that it writes to stderr.

    Keras imports TensorFlow on every backend as soon as it draws seeds. A training therefore calls
    this first, so that the banner does not appear beside the progress bar. TensorFlow writes the
    banner to the file descriptor, so `sys.stderr` cannot be replaced instead.
    """
    if "tensorflow" in sys.modules or importlib.util.find_spec("tensorflow") is None:
        return
    if sys.stderr is None:  # closed by the shell
        return
    sys.stderr.flush()
    stderr_copy, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        importlib.import_module("keras")  # first: PyTorch may crash if it loads after TensorFlow
        importlib.import_module("tensorflow")
    finally:
        os.dup2(stderr_copy, 2)
        os.close(stderr_copy)
        os.close(devnull)


def size_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--size` to a command, which gets a number or a pair."""
    return click.option(
        "--size",
        metavar="PIXELS",
        callback=lambda context, parameter, text: size(text),
        help="Side of the images; or HxW, such as 96x160.",
    )(command)


def size(text: str | None) -> int | tuple[int, int] | None:
    """The argument of `--size`: PIXELS, or HEIGHTxWIDTH."""
    if text is None:
        return None
    try:
        numbers = [int(number) for number in text.lower().replace("\u00d7", "x").split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise UserError(f"--size {text}: give the side in pixels, or --size HEIGHTxWIDTH")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def field_and_value(text: str) -> tuple[str, str]:
    """Split `field=value`, the argument of `--set`."""
    field, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text}: write it as --set field=value")
    return field.strip(), value.strip()


def class_and_weight(text: str) -> tuple[str, float]:
    """Split `class=weight`, the argument of `--class-weight`; the class may contain "="."""
    name, equals, value = text.rpartition("=")
    try:
        if not equals:
            raise ValueError
        return name, float(value)
    except ValueError:
        raise UserError(f"--class-weight {text}: write it as --class-weight CLASS=NUMBER") from None
