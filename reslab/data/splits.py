"""Stratified, seeded splits, and the weights that balance uneven classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from reslab.core.errors import UserError
from reslab.core.rng import Stream

from .dataset import Split

S = TypeVar("S", bound=Split)


def amount(wanted: float, n: int, what: str = "validation", least: int = 0) -> int:
    """How many of n images `wanted` asks for: a fraction below 1, else a number of images.

    A fraction that is not 0 means at least `least` images: one of each class.
    """
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float)) or not wanted >= 0:
        raise UserError(f"{what} is {wanted!r}; give a fraction below 1 or a number of images")
    if wanted >= 1 and wanted != int(wanted):
        raise UserError(f"{what} is {wanted!r}; above 1 it must be a whole number of images")
    count = int(wanted) if wanted >= 1 else round(wanted * n)
    if 0 < wanted < 1:
        count = max(count, least)
    if count >= n:
        raise UserError(f"{what} asks for {count} images, but there are only {n} to take them from")
    return count


def number(n: int) -> str:
    """The number of images in words that fit it."""
    return "1 image" if n == 1 else f"{n} images"


def stratified(
    labels: np.ndarray, count: int, classes: Sequence[str], key: tuple[int | str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of (the rest, the chosen `count`), each sorted.

    Each class gives its share of `count` (largest remainders make the sum exact), but at least
    one image, and keeps at least one: so both parts hold every class.
    """
    sizes = np.bincount(labels, minlength=len(classes))
    for name, size in zip(classes, sizes, strict=True):
        if size < 2:
            raise UserError(
                f"class {name!r} has {number(size)}, but splitting needs at least 2 of each"
                " class: add images or remove the class"
            )
    if count < len(classes) or len(labels) - count < len(classes):
        raise UserError(
            f"cannot split {len(labels)} images of {len(classes)} classes into"
            f" {len(labels) - count} and {count} with every class in both"
        )
    shares = _shares(sizes, count)
    chosen = [
        members[Stream(*key, label).permutation(len(members))[:share]]
        for label, share in enumerate(shares)
        for members in [np.flatnonzero(labels == label)]
    ]
    taken = np.zeros(len(labels), bool)
    taken[np.concatenate(chosen)] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def _shares(sizes: np.ndarray, count: int) -> np.ndarray:
    """`count` shared out in proportion to `sizes`, each share in 1..size-1."""
    exact = count * sizes / sizes.sum()
    shares = np.clip(np.floor(exact).astype(np.int64), 1, sizes - 1)
    while (missing := count - shares.sum()) != 0:
        step = np.sign(missing)
        room = (shares < sizes - 1) if step > 0 else (shares > 1)
        # The class that is furthest behind (or ahead of) its exact share is next.
        lag = np.where(room, step * (exact - shares), -np.inf)
        shares[np.argmax(lag)] += step
    return shares


def carve(
    split: S, wanted: float, classes: Sequence[str], seed: int, what: str = "validation"
) -> tuple[S, S | None]:
    """(what remains, the carved part), or (split, None) when nothing is wanted."""
    count = amount(wanted, len(split), what, len(classes))
    if count == 0:
        return split, None
    rest, taken = stratified(split.labels, count, classes, (seed, what))
    return split.take(rest), split.take(taken)


def counts(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Images of each class, in the order of the classes."""
    found = np.bincount(labels, minlength=len(classes))
    return {name: int(n) for name, n in zip(classes, found, strict=True)}


def class_weights(labels: np.ndarray, n: int) -> np.ndarray:
    """float32 (n,): N / (n * images of the class), so that each class weighs the same in a loss.

    Their mean over the images is 1, which keeps the loss's scale.
    """
    found = np.bincount(labels, minlength=n)
    if len(found) > n or (found == 0).any():
        raise UserError(f"balancing needs images of each of the {n} classes in the training part")
    return (len(labels) / (n * found)).astype(np.float32)
