"""Options that several commands share."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from reslab.core.errors import UserError, unknown

INTERRUPTED = 130  # what a shell calls a command stopped by Ctrl-C
BACKENDS = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow"}

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def backend(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--backend",
        metavar="NAME",
        help="torch, jax or tensorflow; default: KERAS_BACKEND, keras.json, torch.",
    )(command)


def use_backend(name: str | None) -> None:
    """Choose Keras's backend before Keras is loaded; raises UserError where there is none such."""
    chosen = name or os.environ.get("KERAS_BACKEND")
    if chosen is None:
        raise UserError('no backend is installed: pip install "reslab[torch]"')
    if chosen not in BACKENDS:
        raise unknown("backend", chosen, BACKENDS)
    if importlib.util.find_spec(BACKENDS[chosen]) is None:
        raise UserError(f'{chosen} is not installed: pip install "reslab[{chosen}]"')
    os.environ["KERAS_BACKEND"] = chosen
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if chosen == "tensorflow":
        load_tensorflow()


def load_tensorflow() -> None:
    """Load it where it is installed, without its greeting, which it writes past Python.

    Keras loads it for any backend once it draws seeds, so a training does so beforehand.
    """
    if "tensorflow" in sys.modules or importlib.util.find_spec("tensorflow") is None:
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        importlib.import_module("keras")  # first: loaded after TensorFlow, PyTorch may crash
        importlib.import_module("tensorflow")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=1, ensure_ascii=False))


def pair(text: str) -> tuple[str, str]:
    """The two sides of `--set field=value`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text}: write it as --set field=value")
    return name.strip(), value.strip()
