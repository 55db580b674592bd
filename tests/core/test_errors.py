"""Errors suggest the most similar name."""

from __future__ import annotations

import pytest

from reslab.core.errors import unknown


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
