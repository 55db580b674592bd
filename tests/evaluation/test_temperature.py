"""Temperature scaling: the fitted number, what it may not change, and the intervals."""

from __future__ import annotations

import numpy as np
import pytest

from reslab.evaluation import bootstrap, temperature
from reslab.evaluation.metrics import classification_metrics


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def overconfident(factor: float, n: int = 3000, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `factor` times too large for their labels, float (n, k) and int (n,)."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2.0, (n, k))
    labels = (softmax(true).cumsum(-1) > rng.random((n, 1))).argmax(-1)
    return factor * true, labels


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.8])
def test_the_temperature_of_known_logits_is_found(factor: float) -> None:
    logits, labels = overconfident(factor)
    value = temperature.fit(softmax(logits).astype("float32"), labels)
    assert value == pytest.approx(factor, rel=0.06)


def test_no_other_temperature_has_a_smaller_cross_entropy() -> None:
    logits, labels = overconfident(1.4, n=400)

    def cross_entropy(value: float) -> float:
        return float(-np.log(softmax(logits / value)[np.arange(400), labels]).mean())

    value = temperature.fit(softmax(logits), labels)
    assert value is not None
    assert cross_entropy(value) <= min(map(cross_entropy, np.linspace(0.2, 5, 400))) + 1e-7


@pytest.mark.parametrize("value", [0.05, 0.7, 3.0, 20.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_order_of_the_classes_never_changes(value: float, dtype: str) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1, (500, 7)) * rng.choice([1e-3, 1, 30, 1000], (500, 1))
    probabilities = softmax(logits).astype(dtype)  # with zeros and ones among them
    scaled = temperature.scaled(probabilities, value)
    np.testing.assert_array_equal(scaled.argmax(-1), probabilities.argmax(-1))
    np.testing.assert_allclose(scaled.sum(-1), 1)
    for before, after in zip(probabilities, scaled, strict=True):
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= -1e-15).all()


def test_it_is_a_division_of_the_logits() -> None:
    logits, _ = overconfident(1.0, n=50)
    scaled = temperature.scaled(softmax(logits), 1.7)
    np.testing.assert_allclose(scaled, softmax(logits / 1.7), rtol=1e-9)
    np.testing.assert_allclose(temperature.scaled(softmax(logits), 1.0), softmax(logits))


def test_without_enough_mistakes_there_is_none() -> None:
    logits, _ = overconfident(1.0, n=200)
    labels = logits.argmax(-1)
    right = softmax(logits)
    assert temperature.fit(right, labels) is None
    labels[: temperature.FEWEST_MISTAKES - 1] = (labels[: temperature.FEWEST_MISTAKES - 1] + 1) % 5
    assert temperature.fit(right, labels) is None
    labels[temperature.FEWEST_MISTAKES] = (labels[temperature.FEWEST_MISTAKES] + 1) % 5
    assert temperature.fit(right, labels) is not None
    record = temperature.record(right, logits.argmax(-1), right, labels)
    assert record == {"value": None, "images": 200, "mistakes": 0}


def test_predictions_that_say_nothing_get_the_highest_temperature() -> None:
    logits, _ = overconfident(9.0, n=300)
    labels = np.random.default_rng(2).integers(0, 5, 300)
    worst = np.where(labels == logits.argmax(-1), (labels + 1) % 5, labels)
    assert temperature.fit(softmax(logits), worst) == temperature.HIGHEST


def test_the_record_begins_where_the_metrics_end() -> None:
    logits, labels = overconfident(2.0)
    probabilities = softmax(logits).astype("float32")
    fitted, rest = slice(0, 1000), slice(1000, None)
    record = temperature.record(
        probabilities[fitted], labels[fitted], probabilities[rest], labels[rest]
    )
    metrics = classification_metrics(probabilities[rest], labels[rest], list("abcde"))
    assert record["ece"]["before"]["value"] == pytest.approx(
        metrics["calibration"]["ece"], rel=1e-5
    )
    assert record["loss"]["before"]["value"] == pytest.approx(metrics["loss"])
    after = temperature.scaled(probabilities[rest], record["value"])
    metrics = classification_metrics(after, labels[rest], list("abcde"))
    assert record["ece"]["after"]["value"] == pytest.approx(metrics["calibration"]["ece"], rel=1e-5)
    assert record["calibration"] == metrics["calibration"]
    assert record["ece"]["after"]["high"] < record["ece"]["before"]["low"]
    assert record["loss_change"]["high"] < 0
    assert record["loss_change"]["value"] == pytest.approx(
        record["loss"]["after"]["value"] - record["loss"]["before"]["value"]
    )


def test_the_interval_of_calibrated_predictions_begins_at_zero() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.3, 1, 2000)
    weights = bootstrap.weights(2000, 200)
    calibrated = temperature.ece_interval(confidence, rng.random(2000) < confidence, weights)
    wrong = temperature.ece_interval(confidence, rng.random(2000) < confidence - 0.2, weights)
    assert calibrated["low"] == 0
    assert 0.15 < wrong["low"] < wrong["value"] < wrong["high"] < 0.25
    assert calibrated["low"] < calibrated["value"] <= calibrated["high"] < 0.05
