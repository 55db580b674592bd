"""Damaged files of every kind are refused in one line, or read; `scripts/fuzz` runs many more."""

from __future__ import annotations

import random
from collections.abc import Iterator

import keras
import pytest

from tests.helpers.fuzz.mutations import of_bytes, value
from tests.helpers.fuzz.runner import Fuzzer

pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the run was made on PyTorch"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Fuzzer]:
    with Fuzzer(seed=22) as fuzzer:
        yield fuzzer


def test_some_mutants(fuzzer: Fuzzer) -> None:
    assert [fault for number in range(60) if (fault := fuzzer.run(number))] == []
    assert fuzzer.outcomes["refused"] > 10


@pytest.mark.slow
def test_many_mutants(fuzzer: Fuzzer) -> None:
    assert [fault for number in range(60, 560) if (fault := fuzzer.run(number))] == []


def test_a_mutant_is_replayed_by_its_number() -> None:
    content = bytes(range(256))
    once = [of_bytes(content, random.Random(f"1 a {i}")) for i in range(20)]
    assert once == [of_bytes(content, random.Random(f"1 a {i}")) for i in range(20)]
    assert len(set(once)) > 15
    assert value({"a": [1]}, random.Random(1)) == value({"a": [1]}, random.Random(1))


def test_a_wrong_outcome_is_reported(fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.helpers.fuzz import readers

    def broken(*_: object) -> None:
        raise KeyError("a")

    monkeypatch.setattr(readers.papers, "recipe", broken)
    number = [each.name for each in fuzzer.readers].index("recipe")
    fault = fuzzer.run(number)
    assert fault.startswith(f"WRONG recipe, mutant {number}: KeyError: ")
    assert f"scripts/fuzz 22 {number + 1} --only {number}" in fault
