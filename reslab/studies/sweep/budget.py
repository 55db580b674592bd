"""How much training fits into a number of minutes, from measured speeds (standard library only).

First the number of epochs is reduced, down to `FEW_EPOCHS`; then the number of training images,
down to `FEW_IMAGES`; then the width of the networks is halved. Many epochs of few images cost the
same as few epochs of many, but a schedule with drops needs some epochs to have an effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FEW_EPOCHS = 10
FEW_IMAGES = 5_000
WIDTHS = (1.0, 0.5)
FILLED = 0.9  # of the minutes; the rest is for pictures, and for other work on the machine
# No machine is faster than this; both are far from what real ones reach.
FASTEST_CORE = 250e9  # multiply-adds per second: 500 GFLOP/s in float32
FASTEST_STEP, FASTEST_START = 2e-4, 0.5  # seconds: of a step, and of a run without its steps
SCORED = 1 / 3  # cost of a test image over a training image: backward takes twice forward


@dataclass(frozen=True)
class Cost:
    """Seconds of a run of one network: before its first step, and per training image."""

    start: float
    image: float


@dataclass(frozen=True)
class Limits:
    """Lower and upper limits of a choice; equal if the user has fixed it."""

    epochs: tuple[float, float]
    images: tuple[int, int]

    @classmethod
    def of(cls, epochs: float, images: int, *, epochs_fixed: bool, images_fixed: bool) -> Limits:
        """At most `epochs` and `images`; not fewer if the user set the epochs or a sample."""
        return cls(
            (epochs if epochs_fixed else min(FEW_EPOCHS, epochs), epochs),
            (images if images_fixed else min(FEW_IMAGES, images), images),
        )


@dataclass(frozen=True)
class Size:
    """The length of each training."""

    epochs: float
    images: int


def seconds(costs: Mapping[str, Cost], size: Size, test: int, seeds: int) -> float:
    """Seconds of all runs; `test` images are scored after each epoch, and once at the end."""
    start, image = _sums(costs)
    epoch = size.images + SCORED * test
    return seeds * (start + image * (size.epochs * epoch + SCORED * test))


def lower_bound(
    multiply_adds: Sequence[int],
    size: Size,
    test: int,
    seeds: int,
    batch: int,
    cores: int | None,
) -> float:
    """Seconds that all runs take at least, on any machine with these cores (None for a GPU).

    A training image costs three forward passes. Every network is also measured once.
    """
    images = size.epochs * (size.images + SCORED * test) + SCORED * test
    steps = FASTEST_STEP * size.epochs * (size.images // batch)
    runs = 0.0
    for count in multiply_adds:
        arithmetic = 3 * count * images / (FASTEST_CORE * cores) if cores else 0.0
        runs += FASTEST_START + max(arithmetic, steps)
    return seeds * runs + FASTEST_START * len(multiply_adds)


def choose(
    allowed: float, costs: Mapping[str, Cost], limits: Limits, test: int, seeds: int, batch: int
) -> Size | None:
    """The largest size that fits into `allowed` seconds; None if even the smallest does not fit."""
    start, image = _sums(costs)
    images = (allowed / seeds - start) / image - SCORED * test  # over all epochs
    (least, most), (few, full) = limits.epochs, limits.images
    fit = images / (full + SCORED * test)
    if fit >= least:
        return Size(most if fit >= most else max(least, math.floor(fit)), full)
    n = math.floor(images / least - SCORED * test)
    n = min(n - n % batch, full - batch)  # an incomplete batch is never trained on
    return Size(least, n) if n >= few else None


def _sums(costs: Mapping[str, Cost]) -> tuple[float, float]:
    start = sum(cost.start for cost in costs.values())
    return start, sum(cost.image for cost in costs.values())


def described(
    minutes: float,
    size: Size,
    width: float,
    expected: float,
    costs: Mapping[str, Cost],
    limits: Limits,
    seeds: int,
) -> list[str]:
    """The plan as lines of text: what is trained, how long it takes, and why it is not more."""
    runs = seeds * len(costs)
    lines = [
        f"plan: {runs} runs of {size.epochs:g} epochs of {size.images:,} training images, width "
        f"{width:g}: about {expected / 60:.0f} of {minutes:g} minutes",
        "measured: " + ", ".join(f"{k} {1 / c.image:.0f} images/s" for k, c in costs.items()),
    ]
    if size == Size(limits.epochs[1], limits.images[1]):
        lines.append("this is the full length of the recipe, on all images")
    elif size.images == limits.images[1]:
        lines.append("all images, with fewer epochs than the recipe has, to fit into the time")
    else:
        lines.append(f"a sample, because all images would leave fewer than {size.epochs:g} epochs")
    if width < 1 and costs:
        lines.append(
            f"half the width, because {limits.images[0]:,} images do not fit at full width"
        )
    return lines
