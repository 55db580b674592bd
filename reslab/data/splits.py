"""Stratified, seeded splits, and weights that balance classes of different sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from reslab.core.errors import UserError, unknown
from reslab.core.rng import Stream

from .content import chosen
from .dataset import Split

if TYPE_CHECKING:
    from .sources.files import FileSplit

S = TypeVar("S", bound=Split)


def amount(wanted: float, n: int, what: str = "validation", least: int = 0) -> int:
    """The number of images that `wanted` stands for: a fraction of n below 1, else a number.

    A fraction above 0 gives at least `least` images: one of each class.
    """
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float)) or not wanted >= 0:
        raise UserError(f"{what} is {wanted!r}; give a fraction below 1 or a number of images")
    if wanted >= 1 and wanted != int(wanted):
        raise UserError(f"{what} is {wanted!r}; above 1 it must be a whole number of images")
    count = int(wanted) if wanted >= 1 else round(wanted * n)
    if 0 < wanted < 1:
        count = max(count, least)
    if count >= n:
        raise UserError(f"{what} is {count} images, but there are only {n}: choose fewer")
    return count


def number(n: int) -> str:
    """Such as "1 image" or "5 images"."""
    return "1 image" if n == 1 else f"{n} images"


def stratified(
    labels: np.ndarray, count: int, classes: Sequence[str], key: tuple[int | str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The sorted positions of the remaining images, and of the chosen `count`.

    Each class gives images in proportion to its size (the largest remainders make the sum exact),
    at least one, and keeps at least one. So both parts have all classes.
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
    """Divide `count` in proportion to `sizes`, with each share in 1..size-1."""
    exact = count * sizes / sizes.sum()
    shares = np.clip(np.floor(exact).astype(np.int64), 1, sizes - 1)
    while (missing := count - shares.sum()) != 0:
        step = np.sign(missing)
        room = (shares < sizes - 1) if step > 0 else (shares > 1)
        # Next is the class whose share is furthest below (or above) the exact one.
        lag = np.where(room, step * (exact - shares), -np.inf)
        shares[np.argmax(lag)] += step
    return shares


def split_off(
    split: S, wanted: float, classes: Sequence[str], seed: int, what: str = "validation"
) -> tuple[S, S | None]:
    """The remaining split and the part that was split off; (split, None) if `wanted` is 0."""
    several = split.labels.ndim > 1
    count = amount(wanted, len(split), what, 1 if several else len(classes))
    if count == 0:
        return split, None
    if several:  # no rule keeps the proportions of all labels: by the content, as with files
        taken = chosen(split.digests, wanted, seed, what)
        part = split.take(np.flatnonzero(taken)) if taken.any() else None
        return split.take(np.flatnonzero(~taken)), part
    rest, taken = stratified(split.labels, count, classes, (seed, what))
    return split.take(rest), split.take(taken)


def split_by_content(
    split: FileSplit, wanted: float, classes: Sequence[str], seed: int, what: str = "validation"
) -> tuple[FileSplit, FileSplit | None]:
    """`split_off` by the keys of the images alone. None also if no image came into the part.

    Raises UserError if a class has no image left.
    """
    if amount(wanted, len(split), what, least=1) == 0:
        return split, None
    taken = chosen(split.keys, wanted, seed, what)
    rest = split.take(np.flatnonzero(~taken))
    sizes = label_counts(rest.labels, len(classes))
    if (sizes == 0).any() and rest.labels.ndim == 1:
        name = classes[int(np.argmin(sizes))]
        images = int((split.labels == classes.index(name)).sum())
        raise UserError(
            f"class {name!r} has {number(images)}, and by their content all belong to the {what} "
            f"part: add images, or make the folders train/ and {'val' if what != 'test' else what}/"
        )
    return rest, split.take(np.flatnonzero(taken)) if taken.any() else None


def counts(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """The number of images of each class, in the order of the classes."""
    sizes = label_counts(labels, len(classes))
    return {name: int(n) for name, n in zip(classes, sizes, strict=True)}


def label_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """The number of images of each class, int (classes,), from one label per image or several."""
    return labels.sum(0) if labels.ndim > 1 else np.bincount(labels, minlength=classes)


def random_sample(labels: np.ndarray, count: int, classes: Sequence[str]) -> np.ndarray:
    """The sorted positions of `count` images: of one label per image stratified by class."""
    if labels.ndim > 1:
        return np.sort(Stream(0, "sample").permutation(len(labels))[:count])
    return stratified(labels, count, classes, (0, "sample"))[1]


def class_weights(labels: np.ndarray, n: int) -> np.ndarray:
    """Compute weights with which each class contributes equally to a loss.

    The mean of the weights over the images is 1, which keeps the scale of the loss.

    Args:
        labels: int (N,), the class of each training image.
        n: the number of classes.

    Returns:
        float32 (n,): N / (n * images of the class).

    Raises:
        UserError: a class has no image.
    """
    sizes = np.bincount(labels, minlength=n)
    if len(sizes) > n or (sizes == 0).any():
        raise UserError(f"balancing needs images of each of the {n} classes in the training part")
    return (len(labels) / (n * sizes)).astype(np.float32)


def named_weights(weights: Mapping[str, float], classes: Sequence[str]) -> np.ndarray:
    """The weights of classes that are given by name, in the order of the classes.

    Args:
        weights: A weight of 0 or more for some of the classes; the others have 1.
        classes: The names of all classes.

    Returns:
        float32 (n,).

    Raises:
        UserError: A name is not one of the classes, or a weight is not possible.
    """
    values = dict.fromkeys(classes, 1.0)
    for name, weight in weights.items():
        if name not in values:
            raise unknown("class", name, classes)
        if not 0 <= weight < math.inf:
            raise UserError(f"the weight of class {name} is {weight}: give 0 or more")
        values[name] = weight
    if not any(values.values()):
        raise UserError("all classes have weight 0: give at least one of them more")
    return np.array(list(values.values()), np.float32)
