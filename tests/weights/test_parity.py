"""Logits of other libraries' nets and of ours agree, with random weights, in both directions."""

from __future__ import annotations

import keras
import pytest

from tests.weights.cases import CASES
from tests.weights.parity import CLOSE, Case, measure

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="compared on PyTorch; the core tests compare backends",
)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, id=f"{c.library}-{c.theirs}", marks=[pytest.mark.slow] if c.slow else [])
        for c in CASES
    ],
)
def test_logits_agree_both_ways_and_stages_too(case: Case) -> None:
    result = measure(case)
    assert result.worst < CLOSE, result
