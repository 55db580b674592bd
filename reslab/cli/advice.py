"""Options that a message names and that the command lacks: the message says whose they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import click

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
QUOTED = re.compile(r"`[^`]*`")  # a whole command, which says itself what it is
FIRST = "train"  # the command that is named first
SHOWN = 2  # commands


def with_owners(message: str, root: click.Group, words: Sequence[str]) -> str:
    """The message, which names the commands of the options that the command given lacks.

    Args:
        message: The text of an error.
        root: The group of all commands.
        words: The command line.
    """
    command = _command(root, words)
    if command is None:
        return message
    options = set(_options(command))
    named = dict.fromkeys(OPTION.findall(QUOTED.sub("", message)))
    owners = {option: _owners(root, option) for option in named if option not in options}
    texts = []
    for option, commands in owners.items():
        if commands:
            names = " and ".join("`reslab " + name + "`" for name in commands[:SHOWN])
            texts.append(f"{option} is an option of {names}")
    return f"{message} ({'; '.join(texts)})" if texts else message


def _command(root: click.Group, words: Sequence[str]) -> click.Command | None:
    command: click.Command = root
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.commands.get(word, command)
    return None if isinstance(command, click.Group) else command


def _owners(root: click.Group, option: str) -> list[str]:
    """The names of the commands with an option."""
    owners = [name for name, command in _all(root) if option in _options(command)]
    return sorted(owners, key=lambda name: (name != FIRST, name))


def _all(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _all(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _options(command: click.Command) -> list[str]:
    return [name for p in command.params for name in (*p.opts, *p.secondary_opts)]
