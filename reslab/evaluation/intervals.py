"""Intervals of means over seeds, and of differences between errors.

An error of a trained network varies for two reasons. Another seed gives other first weights,
another order of the images and other augmentation. Another set of images gives another error of the
same network. The first is measured by several runs, the second follows from the number of images.

    t_interval   of a mean over seeds: Student 1908
    welch        of a difference of two means over seeds: Welch 1947, with his degrees of freedom
    newcombe     of a difference of two rates over images: Newcombe 1998 (Statistics in Medicine 17,
                 873-890), method 10, from Wilson's intervals

Method 10 is for two independent samples of images. Two networks that are evaluated on the same
images tend to fail on the same ones, so their difference varies less: the interval is then too wide
rather than too narrow. McNemar's test would be sharper, but needs the result for every image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev, variance

from reslab.evaluation.metrics import wilson

LEVEL = 0.95


@dataclass(frozen=True)
class ErrorDifference:
    """A difference of two errors with its interval, as fractions.

    Attributes:
        mean: The first error minus the second; means over the seeds.
        low: The lower end of the interval.
        high: Its upper end.
        seeds: Whether the interval covers the variation between seeds. If there is a single run on
            either side, it covers only the images.
    """

    mean: float
    low: float
    high: float
    seeds: bool

    @property
    def verdict(self) -> str:
        """Return "higher" or "lower"; "not decided" if the interval includes zero."""
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "not decided"


def compare(
    errors: Sequence[float],
    others: Sequence[float],
    images: int,
    other_images: int,
    level: float = LEVEL,
) -> ErrorDifference:
    """Compare two networks by their errors, one error for each seed.

    With several seeds on both sides, the interval reaches as far as the wider of `welch` and
    `newcombe` does. So neither the variation between the seeds nor that between the images can
    explain a decided difference. Welch's interval alone is not enough: errors are whole numbers of
    images, so two seeds often have equal errors, and then its width is zero. With one seed on
    either side, only `newcombe` is possible.

    Args:
        errors: The errors of one network, from 0 to 1.
        others: Those of the other one.
        images: The number of images that each of `errors` was measured on.
        other_images: The same for `others`.
        level: Probability that the interval covers the true difference.
    """
    mean, other = fmean(errors), fmean(others)
    low, high = newcombe(mean, images, other, other_images, level)
    seeds = min(len(errors), len(others)) > 1
    if seeds:
        ends = welch(errors, others, level)
        low, high = min(low, ends[0]), max(high, ends[1])
    return ErrorDifference(mean - other, low, high, seeds)


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The interval of the mean of two or more values."""
    n = len(values)
    margin = student_quantile(n - 1, level) * stdev(values) / math.sqrt(n)
    return fmean(values) - margin, fmean(values) + margin


def welch(
    values: Sequence[float], others: Sequence[float], level: float = LEVEL
) -> tuple[float, float]:
    """The interval of mean(values) - mean(others), with two or more of each."""
    n, m = len(values), len(others)
    a, b = variance(values) / n, variance(others) / m
    difference = fmean(values) - fmean(others)
    squares = a * a / (n - 1) + b * b / (m - 1)
    if squares == 0:  # also where it is too small for a float
        return difference, difference
    margin = student_quantile((a + b) ** 2 / squares, level) * math.sqrt(a + b)
    return difference - margin, difference + margin


def newcombe(
    rate: float, n: int, other: float, m: int, level: float = LEVEL
) -> tuple[float, float]:
    """The interval of rate - other, for rates over n and m images."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    low, high = wilson(rate * n, n, z)
    other_low, other_high = wilson(other * m, m, z)
    difference = rate - other
    return (
        difference - math.hypot(rate - low, other_high - other),
        difference + math.hypot(high - rate, other - other_low),
    )


def student_quantile(df: float, level: float = LEVEL) -> float:
    """The t for which |T| < t has this probability, T with `df` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))
