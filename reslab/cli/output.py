"""Printing: the only place for it, beside tables (`tables`) and progress bars (`progress`)."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any

import click

from reslab.core.text import printable


def echo(text: str = "", err: bool = False) -> None:
    """Print a line on standard output, or on standard error, without control characters."""
    click.echo(printable(text), err=err)


def print_json(data: Any) -> None:
    """Print `data` as indented JSON."""
    echo(json.dumps(data, indent=1, ensure_ascii=False))


def accept_all_characters() -> None:
    """Let letters that the locale lacks be printed as escapes instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # the stream is closed, or lost its position
                stream.reconfigure(errors="backslashreplace")
