"""Labels that are likely wrong, by confident learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reslab.data import ArraySplit
from reslab.evaluation import likely_labels

CLASSES = [f"class {c}" for c in range(6)]


def planted(n: int, k: int = 6, fraction: float = 0.05) -> tuple[np.ndarray, np.ndarray, Any]:
    """Good probabilities, labels of which some are wrong, and the positions of these."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, k, n)
    scores = rng.normal(0, 1, (n, k))
    scores[np.arange(n), true] += rng.uniform(3, 7, n)
    probabilities = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    wrong = rng.permutation(n)[: int(fraction * n)]
    labels = true.copy()
    labels[wrong] = (true[wrong] + rng.integers(1, k, len(wrong))) % k
    return probabilities.astype("float32"), labels, wrong


def split_of(labels: np.ndarray) -> ArraySplit:
    return ArraySplit.of(np.zeros((len(labels), 4, 4, 1), np.uint8), labels)


def test_planted_wrong_labels_come_first() -> None:
    pytest.importorskip("cleanlab")
    probabilities, labels, wrong = planted(1200)
    likely = likely_labels.ranked(probabilities, labels)
    assert set(likely[:40].tolist()) <= set(wrong.tolist())
    assert len(set(wrong.tolist()) & set(likely.tolist())) >= 0.9 * len(wrong)


def test_parts_are_ranked_together_and_described_apart() -> None:
    pytest.importorskip("cleanlab")
    probabilities, labels, wrong = planted(900)
    kept = np.arange(600, 900, 2)  # a sample of the validation images
    test, validation = split_of(labels[:600]), split_of(labels[600:])
    parts: Any = [
        ("test", test, np.arange(600), probabilities[:600]),
        ("validation", validation, kept - 600, probabilities[kept]),
    ]
    result = likely_labels.find(parts, CLASSES, each=5)
    assert result is not None
    sizes = [(part["split"], part["n"], part["of"]) for part in result["parts"]]
    assert sizes == [("test", 600, 600), ("validation", 150, 300)]
    examined = np.concatenate([np.arange(600), kept])
    likely = likely_labels.ranked(probabilities[examined], labels[examined])
    assert sum(part["sure"] for part in result["parts"]) == len(likely)
    rows = result["suspects"]
    assert [row["split"] for row in rows].count("test") == 5
    for row in rows:
        position = row["index"] + (600 if row["split"] == "validation" else 0)
        assert position in wrong
        assert row["true"] == CLASSES[labels[position]] != row["predicted"]
        assert row["quality"] == pytest.approx(float(probabilities[position, labels[position]]))
    assert [row["quality"] for row in rows] == sorted(row["quality"] for row in rows)


@pytest.mark.parametrize("classes", [[0], [2, 5]])
def test_classes_may_be_missing(classes: list[int]) -> None:
    pytest.importorskip("cleanlab")
    probabilities, labels, _ = planted(300, fraction=0)
    kept = np.isin(labels, classes)
    likely = likely_labels.ranked(probabilities[kept], labels[kept])
    assert len(likely) < 0.1 * kept.sum()
    assert len(likely_labels.ranked(probabilities[:1], labels[:1])) == 0


def test_a_failure_of_the_library_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("something\nnew")

    probabilities, labels, _ = planted(60)
    monkeypatch.setattr(likely_labels, "installed", lambda: True)
    monkeypatch.setattr(likely_labels, "ranked", fails)
    parts: Any = [("test", split_of(labels), np.arange(60), probabilities)]
    assert likely_labels.find(parts, CLASSES) is None
    assert "no labels are ranked: cleanlab fails with something" in caplog.text


def test_without_the_library_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, labels, _ = planted(60)
    monkeypatch.setattr(likely_labels, "installed", lambda: False)
    parts: Any = [("test", split_of(labels), np.arange(60), probabilities)]
    assert likely_labels.find(parts, CLASSES) is None
