"""Networks of other libraries and of reslab give the same logits, in both directions."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import keras
import pytest

from tests.helpers.weights.cases import CASES
from tests.helpers.weights.parity import CLOSE, Case, measure

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="compared on PyTorch; the core tests compare backends",
)


def test_the_page_has_all_networks_and_the_stored_results() -> None:
    """If this fails, run `python docs/parity.py` with the missing networks, or with `--write`."""
    script = Path(__file__).parents[2] / "docs" / "parity.py"
    spec = importlib.util.spec_from_file_location("parity_page", script)
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    stored = json.loads(page.KEPT.read_text(encoding="utf-8"))
    assert list(stored) == [page.name(case) for case in CASES]
    assert page.PAGE.read_text(encoding="utf-8") == page.page(stored)
    for result in stored.values():
        assert max(result["to_ours"], result["to_theirs"], *result["stages"].values()) < CLOSE


def test_a_different_network_is_detected() -> None:
    """Different strides, and an epsilon that differs by 1e-8."""
    other = Case("torchvision", "resnet50", "resnet50_v1", {"conv2_x": "layer1"})
    assert measure(other).to_ours > 100 * CLOSE
    with pytest.raises(AssertionError, match="conv1_bn1"):
        measure(Case("keras", "DenseNet121", "densenet121", {}))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, id=f"{c.library}-{c.theirs}", marks=[pytest.mark.slow] if c.slow else [])
        for c in CASES
    ],
)
def test_logits_and_stages_agree_in_both_directions(case: Case) -> None:
    result = measure(case)
    assert result.worst < CLOSE, result
