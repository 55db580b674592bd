"""Intervals against published values, SciPy, and simulated seeds and images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reslab.evaluation.intervals import compare, newcombe, student_quantile, t_interval, welch


@pytest.mark.parametrize(
    ("df", "level", "t"),
    [
        (1, 0.95, 12.7062),
        (2, 0.95, 4.30265),
        (4, 0.99, 4.60409),
        (10, 0.9, 1.81246),
        (120, 0.95, 1.97993),
    ],
)
def test_student_quantiles_match_the_tables(df: float, level: float, t: float) -> None:
    assert student_quantile(df, level) == pytest.approx(t, abs=5e-5 * max(1, t / 10))


@pytest.mark.parametrize(
    ("hits", "n", "others", "m", "low", "high"),
    [  # Newcombe 1998, Table II, method 10
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (6, 7, 2, 7, 0.0582, 0.8062),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 20, -0.1611, 0.2775),
        (10, 10, 0, 10, 0.6075, 1.0),
    ],
)
def test_differences_of_rates_match_published_values(
    hits: int, n: int, others: int, m: int, low: float, high: float
) -> None:
    assert newcombe(hits / n, n, others / m, m) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_a_mean_over_seeds_by_hand() -> None:
    low, high = t_interval([0.08, 0.09, 0.10])
    margin = 4.30265 * 0.01 / math.sqrt(3)
    assert (low, high) == pytest.approx((0.09 - margin, 0.09 + margin), abs=1e-7)


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=5),
    st.lists(st.floats(0, 1), min_size=2, max_size=5),
)
def test_welch_equals_scipy(values: list[float], others: list[float]) -> None:
    if min(np.std(values), np.std(others)) < 1e-6:
        return
    expected = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    assert welch(values, others) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9)


def test_equal_errors_of_all_seeds_leave_the_interval_of_the_images() -> None:
    assert welch([0.1, 0.1], [0.1, 0.1]) == (0.0, 0.0)
    difference = compare([0.1, 0.1], [0.102, 0.102], 500, 500)
    assert (difference.low, difference.high) == newcombe(0.1, 500, 0.102, 500)
    assert difference.seeds
    assert difference.verdict == "not decided"


def test_one_run_on_either_side_covers_only_the_images() -> None:
    difference = compare([0.1, 0.3, 0.5], [0.1], 1000, 1000)
    assert not difference.seeds
    assert (difference.low, difference.high) == newcombe(0.3, 1000, 0.1, 1000)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.integers(1, 10**6),
)
def test_a_comparison_is_antisymmetric(
    errors: list[float], others: list[float], images: int
) -> None:
    one, other = compare(errors, others, images, images), compare(others, errors, images, images)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
    assert one.low - 1e-12 <= one.mean <= one.high + 1e-12
    opposite = {"higher": "lower", "lower": "higher", "not decided": "not decided"}
    assert one.verdict == opposite[other.verdict] or abs(one.low * one.high) < 1e-12


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_networks_are_rarely_told_apart(seeds: int) -> None:
    """Two networks with the same true error, seeds and images drawn: at most 5 % are decided."""
    rng = np.random.default_rng(0)
    true = rng.normal(0.1, 0.01, (2, 400, seeds))
    errors = rng.binomial(1000, true) / 1000
    wrong = sum(
        compare(list(a), list(b), 1000, 1000).verdict != "not decided"
        for a, b in zip(*errors, strict=True)
    )
    assert wrong <= 0.05 * 400
