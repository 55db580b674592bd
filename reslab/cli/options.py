"""Options that several commands share."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from typing import Any

import click

from reslab.errors import UserError, unknown

BACKENDS = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow"}

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def backend(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--backend",
        metavar="NAME",
        help="torch, jax or tensorflow; default: KERAS_BACKEND, keras.json, torch.",
    )(command)


def use_backend(name: str | None) -> None:
    """Choose Keras's backend, before Keras is loaded; raises UserError for one that is not there."""
    chosen = name or os.environ.get("KERAS_BACKEND")
    if chosen is None:
        raise UserError('no backend is installed: pip install "reslab[torch]"')
    if chosen not in BACKENDS:
        raise unknown("backend", chosen, BACKENDS)
    if importlib.util.find_spec(BACKENDS[chosen]) is None:
        raise UserError(f'{chosen} is not installed: pip install "reslab[{chosen}]"')
    os.environ["KERAS_BACKEND"] = chosen
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets on standard error


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=1, ensure_ascii=False))
