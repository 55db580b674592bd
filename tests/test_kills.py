"""Killed trainings end as if they never were; `scripts/kill-test` makes 100 kills."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from tests.helpers.kills import Killer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="it takes minutes"),
]


def test_a_killed_training_has_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    killer = Killer(tmp_path, seed=22)
    assert killer.killed(tmp_path / "killed", 6) == []
    assert killer.moments.total() > 0


def test_a_difference_is_reported(tmp_path: Path) -> None:
    from tests.helpers.kills import differences

    killer = Killer(tmp_path, seed=22)
    killer.run(tmp_path / "other")
    log = tmp_path / "other" / "log.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    (tmp_path / "other" / "report.html").unlink()
    wrong = differences(killer.reference, tmp_path / "other")
    assert [text.split(":")[0] for text in wrong] == ["another log", "no report"]
