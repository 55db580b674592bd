"""What fits into a number of minutes: pure sums over measured speeds (standard library only).

First the epochs become fewer, down to `FEW_EPOCHS`; then the training images, down to `FEW_IMAGES`;
then the networks are made half as wide. More epochs of fewer images and fewer epochs of more cost
the same; below some epochs a schedule with drops has no time to show what it does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

FEW_EPOCHS = 10
FEW_IMAGES = 5_000
WIDTHS = (1.0, 0.5)
FILLED = 0.9  # of the minutes; the rest is for pictures, and for a machine that has other work
SCORED = 1 / 3  # an image scored, over one trained: the way back costs twice the way there


@dataclass(frozen=True)
class Cost:
    """Seconds that a run of one network takes: before its first step, and for each image."""

    start: float
    image: float


@dataclass(frozen=True)
class Limits:
    """What may be chosen, least and most; equal where a person has fixed it."""

    epochs: tuple[float, float]
    images: tuple[int, int]

    @classmethod
    def of(cls, epochs: float, images: int, *, fixed: bool, sample: bool) -> Limits:
        """Up to `epochs` and `images`; `fixed` epochs, and a `sample` asked for, are left so."""
        return cls(
            (epochs if fixed else min(FEW_EPOCHS, epochs), epochs),
            (images if sample else min(FEW_IMAGES, images), images),
        )


@dataclass(frozen=True)
class Size:
    """How much each run is trained."""

    epochs: float
    images: int


def seconds(costs: Mapping[str, Cost], size: Size, test: int, seeds: int) -> float:
    """What all runs take; the test images are scored after each epoch, and once at the end."""
    start, image = _sums(costs)
    each = size.images + SCORED * test
    return seeds * (start + image * (size.epochs * each + SCORED * test))


def choose(
    allowed: float, costs: Mapping[str, Cost], limits: Limits, test: int, seeds: int, batch: int
) -> Size | None:
    """The most that `allowed` seconds can bear, None where not even the least fits."""
    start, image = _sums(costs)
    passes = (allowed / seeds - start) / image - SCORED * test  # images that can be trained
    (least, most), (few, full) = limits.epochs, limits.images
    fit = passes / (full + SCORED * test)
    if fit >= least:
        return Size(most if fit >= most else max(least, math.floor(fit)), full)
    n = math.floor(passes / least - SCORED * test)
    n = min(n - n % batch, full - batch)  # what is no whole batch would never be trained on
    return Size(least, n) if n >= few else None


def _sums(costs: Mapping[str, Cost]) -> tuple[float, float]:
    each = costs.values()
    return sum(cost.start for cost in each), sum(cost.image for cost in each)


def told(
    minutes: float,
    size: Size,
    width: float,
    expected: float,
    costs: Mapping[str, Cost],
    limits: Limits,
    seeds: int,
) -> list[str]:
    """The plan in lines: what is trained, how long it takes, and why no more."""
    runs = seeds * len(costs)
    lines = [
        f"plan: {runs} runs of {size.epochs:g} epochs of {size.images:,} training images, width "
        f"{width:g}: about {expected / 60:.0f} of {minutes:g} minutes",
        "measured: " + ", ".join(f"{k} {1 / c.image:.0f} images/s" for k, c in costs.items()),
    ]
    if size == Size(limits.epochs[1], limits.images[1]):
        lines.append("this is the whole of what was asked")
    elif size.images == limits.images[1]:
        lines.append("fewer epochs than the recipe has, of all images: they fit")
    else:
        lines.append(f"all images would leave fewer than {size.epochs:g} epochs: so a sample")
    if width < 1 and costs:
        lines.append(f"with all filters not even {limits.images[0]:,} images would fit")
    return lines
