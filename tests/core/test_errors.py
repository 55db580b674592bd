"""Errors suggest the most similar name."""

from __future__ import annotations

import pytest

from reslab.core import errors
from reslab.core.errors import UserError, unknown


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("resnet51", ["resnet56", "resnet50", "plain34"], "did you mean 'resnet50'?"),
        ("ResNet50", ["resnet50", "resnet18"], "did you mean 'resnet50'?"),
        ("zzz", ["b", "a"], "there are: a, b"),
        ("", ["a"], "there are: a"),
        ("x", [], "there are: "),
    ],
)
def test_nearest(name: str, known: list[str], hint: str) -> None:
    assert str(unknown("network", name, known)) == f"no network {name!r}; {hint}"


@pytest.mark.parametrize("part", ["x", "é", "\x1b"])
def test_of_a_very_long_message_the_two_ends_are_kept(part: str) -> None:
    text = str(UserError(f"no class {part * 10**5}: give another one"))
    assert len(text) <= errors.MOST_LINE
    assert text.startswith("no class ")
    assert text.endswith(": give another one")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a \x1b[2J b", "a \\u001b[2J b"),
        ("two\nlines", "two\\nlines"),
        ("a\ttab", "a\\ttab"),
        ("\udcff.png", "\\udcff.png"),
        ("写真\u3000é", "写真\u3000é"),
    ],
)
def test_the_message_is_one_printable_line(message: str, shown: str) -> None:
    assert str(UserError(message)) == shown


def test_long_values_and_errors_are_cut() -> None:
    assert errors.short([1] * 100).endswith("...")
    assert errors.short(10**5000) == "a very long int"
    assert len(errors.one_line(ValueError("a\n\x00" * 1000))) == 200
