"""K-fold cross-validation: each image validates in one fold, and trains in the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reslab.core.errors import UserError

from .content import digest
from .dataset import Data, Split
from .splits import counts, number


def fold(data: Data, k: int, folds: int) -> Data:
    """The data of one fold, without the test part.

    The images of the training and validation parts are divided again. Images that belong together
    (equal ones, near-duplicates, groups) come into one fold. Each class is spread as evenly as
    that allows. The division depends on the content of the images and on the seed of the data.

    Args:
        data: All data.
        k: Which fold validates, from 1.
        folds: The number of folds, two or more.

    Returns:
        The data for the training of this fold.

    Raises:
        UserError: There are too few images for so many folds.
    """
    train = data.train if data.validation is None else data.train.join(data.validation)
    places = assign(train, data.classes, folds, int(data.provenance.get("seed", 0)))
    held_out = train.take(np.flatnonzero(places == k - 1))
    kept = train.take(np.flatnonzero(places != k - 1))
    tallies = {"train": kept, "validation": held_out}
    return replace(
        data,
        train=kept,
        validation=held_out,
        test=None,
        facts={
            **data.facts,
            "validation": f"fold {k} of {folds}, {number(len(held_out))}",
            "counts": {part: counts(s.labels, data.classes) for part, s in tallies.items()},
        },
        provenance={**data.provenance, "fold": [k, folds]} if data.provenance else {},
    )


def assign(split: Split, classes: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """The fold of each image, from 0: int (n,)."""
    keys = getattr(split, "keys", None)  # what belongs together, in folders of files
    keys = split.digests if keys is None else keys
    distinct, which = np.unique(keys, return_inverse=True)
    labels = split.labels
    if labels.ndim == 1:
        labels = np.eye(len(classes), dtype=np.int64)[labels]  # several labels are rows of 0 and 1
    tallies = np.zeros((len(distinct), len(classes)), np.int64)  # of each group
    np.add.at(tallies, which, labels)
    _check(tallies, classes, folds)
    prefix = f"{seed} fold ".encode()
    hashes = [digest(prefix + key.tobytes()) for key in distinct.astype("<u8")]
    largest_first = np.lexsort((hashes, -tallies.sum(1)))
    loads = np.zeros((folds, len(classes)), np.int64)
    chosen = np.zeros(len(distinct), np.int64)
    for group in largest_first:
        tally = tallies[group]
        # The fold with the fewest images of these classes; among equal ones the smallest.
        order = np.lexsort((loads.sum(1), loads @ tally))
        chosen[group] = order[0]
        loads[order[0]] += tally
    return chosen[which]


def _check(tallies: np.ndarray, classes: Sequence[str], folds: int) -> None:
    if folds < 2:
        raise UserError(f"folds is {folds}: give 2 or more")
    groups = (tallies > 0).sum(0)
    if groups.min() < folds:
        name = classes[int(groups.argmin())]
        raise UserError(
            f"class {name!r} has {number(int(groups.min()))} to divide (those that belong together "
            f"count once), but there are {folds} folds: give fewer folds, or more images"
        )
