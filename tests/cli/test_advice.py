"""Every command and option that a text of reslab names exists: in messages, help and docstrings."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import reslab
from reslab.cli import advice
from reslab.cli.main import cli
from reslab.runs.papers import RECIPES

PACKAGE = Path(reslab.__file__).parent
OF_OTHERS = {"--porcelain", "--xignore", "--data-binary"}  # of git, of the code of a paper, of curl
# Here -- begins the name of a colour.
CSS = "reslab/plots/", *(f"reslab/report/{n}_charts" for n in ("evaluation", "multilabel", "map"))
COMMAND = re.compile(r"`(reslab [^`]+)`")


def texts() -> Iterator[tuple[str, str]]:
    """Each string in the code with its place; `VALUE` stands for what an f-string fills in."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in node.values
        }
        for node in ast.walk(tree):
            where = f"{path.relative_to(PACKAGE.parent).as_posix()}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", None) for part in node.values)
                yield where, "".join(x if isinstance(x, str) else "VALUE" for x in parts)
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in inner
            ):
                yield where, node.value


def commands() -> list[tuple[str, str]]:
    return [
        (where, command) for where, text in texts() for command in COMMAND.findall(_joined(text))
    ]


def _joined(text: str) -> str:
    return " ".join(text.split())


def check(command: str) -> None:
    """Raise if the command, one of its options, or the value of an option is missing."""
    words = shlex.split(command.partition(" | ")[0])[1:]
    if words[0] in ("COMMAND", "...") or words[0].startswith("-"):
        return
    found: click.Command = cli
    while isinstance(found, click.Group) and words:
        assert words[0] in found.commands, f"no command {words[0]}"
        found = found.commands[words.pop(0)]
    options = {name: p for p in found.params for name in (*p.opts, *p.secondary_opts)}
    for i, word in enumerate(words):
        if word.startswith("--") and word != "--help":
            name, equals, _ = word.partition("=")
            assert name in options, f"no option {name}"
            needs_value = not getattr(options[name], "is_flag", False)
            assert not needs_value or equals or words[i + 1 :], f"{name} needs a value"


def test_commands_in_texts_exist() -> None:
    named = commands()
    assert len(named) > 30
    wrong = []
    for where, command in named:
        try:
            check(command)
        except AssertionError as error:
            wrong.append(f"{where}: `{command}`: {error}")
    assert not wrong, "\n".join(wrong)


def test_recipes_in_texts_exist() -> None:
    for where, command in commands():
        for name in re.findall(r"--recipe ([a-z][\w-]*)", command):
            assert name in RECIPES, where


@pytest.mark.parametrize(
    "command",
    ["reslab trian x", "reslab train --resume", "reslab train --colour 3", "reslab weights make"],
)
def test_what_does_not_exist_is_noticed(command: str) -> None:
    with pytest.raises(AssertionError):
        check(command)


def test_options_in_messages_exist_somewhere() -> None:
    """Messages name an option without its command, such as "--set rate=..."."""
    known = {"--help", "--version"}
    queue: list[click.Command] = [cli]
    while queue:
        command = queue.pop()
        known |= {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
        queue += command.commands.values() if isinstance(command, click.Group) else []
    wrong = []
    for where, text in texts():
        for option in (
            () if where.startswith(CSS) else re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)
        ):
            is_prefix = option.endswith("-")  # of several options, or of a name that is filled in
            matches = [name for name in known if name.startswith(option)]
            if not (matches if is_prefix else option in known) and option not in OF_OTHERS:
                wrong.append(f"{where}: {option}")
    assert not wrong, "\n".join(wrong)


def _leaves(group: click.Group, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, (*prefix, name))
        else:
            yield (*prefix, name)


def _messages() -> list[str]:
    """The texts of all errors in the code that name an option."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                "UserError",
                "_fail",
            ):
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        found.append(part.value)
    return [text for text in found if advice.OPTION.search(text)]


def test_no_message_names_an_option_that_the_command_lacks() -> None:
    """Whatever the command, a message that names another command's option says whose it is."""
    messages = _messages()
    assert len(messages) > 30
    for words in _leaves(cli):
        command: click.Command = cli
        for word in words:
            assert isinstance(command, click.Group)
            command = command.commands[word]
        own = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
        for message in messages:
            shown = advice.with_owners(message, cli, [*words, "x"])
            for option in advice.OPTION.findall(advice.QUOTED.sub("", message)):
                assert option in own or f"{option} is an option of `reslab " in shown, (
                    words,
                    message,
                )


def test_a_message_without_foreign_options_is_unchanged() -> None:
    for message in ("use --skip-bad", "finish it with `reslab train --resume x`", "plain"):
        assert advice.with_owners(message, cli, ["evaluate", "x"]) == message
    shown = advice.with_owners("use --group or --skip-bad", cli, ["predict", "x"])
    assert shown.startswith("use --group or --skip-bad (--group is an option of `reslab train`")
