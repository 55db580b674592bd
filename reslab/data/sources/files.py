"""Image files with labels: how they are checked, divided into parts, and read with Grain."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from reslab.core.errors import UserError
from reslab.core.rng import Stream
from reslab.data import duplicates
from reslab.data.augment import Augmentation
from reslab.data.content import (
    CONTENT,
    STRATIFIED,
    digest,
    equal_pairs,
    file_digests,
    group_keys,
    joined,
)
from reslab.data.dataset import CLASSIFICATION, MULTILABEL, Parts
from reslab.data.duplicates import as_bytes, near_pairs
from reslab.data.formats import BadImage
from reslab.data.images import MARGIN, Size, read_view, sides
from reslab.data.scale import GreyScale, Values, choose
from reslab.data.scan import Verdict, inspect
from reslab.data.splits import number, split_by_content, split_off

ROWS = "labels", "digests", "keys"  # the arrays of a FileSplit


@dataclass(frozen=True)
class Wanted:
    """The arguments of `load` that concern image files."""

    size: Size
    channels: int
    validation: float
    seed: int
    skip_bad: bool
    test: float
    cache: Path | None
    margin: bool = True  # whether the centre view leaves out the edges
    split: str = CONTENT
    group: str | None = None
    near_duplicates: bool = False
    scale: GreyScale | None = None  # of pictures with more than 8 bits; None: that of the data
    # The classes of a model that is evaluated on the data: a part of them is enough.
    known: tuple[str, ...] | None = None
    by_suffix: bool = False  # only the files that earlier versions found


@dataclass(frozen=True)
class Listing:
    """The files of a data set, before they are read.

    Attributes:
        root: The folder that the names are relative to.
        classes: The names of the classes, in the order of the labels.
        parts: For "train", and perhaps "validation" and "test": file names with /, and labels: the
            number of the class, or a list of 0 and 1 for several labels.
        split: Where the parts come from, for the facts.
        groups: The group of each file, by its name; empty if there are no groups.
        facts: More facts.
    """

    root: Path
    name: str
    classes: tuple[str, ...]
    parts: Mapping[str, tuple[list[str], list[Any]]]
    split: str
    groups: Mapping[str, str]
    facts: Mapping[str, Any]
    task: str = CLASSIFICATION
    column_per_label: bool = False


@dataclass(frozen=True, eq=False)
class FileSplit:
    """A split of image files, which are decoded when they are read.

    Images with equal `keys` belong together: they come into one part.
    """

    root: Path
    names: Sequence[str]  # relative to root, with /
    labels: np.ndarray  # int32 (n,), or (n, classes) for several labels
    digests: np.ndarray  # uint64 (n,)
    keys: np.ndarray  # uint64 (n,)
    size: Size
    channels: int
    margin: bool = True
    scale: GreyScale | None = None  # of pictures with more than 8 bits
    hashes: np.ndarray | None = None  # uint8 (n, duplicates.BYTES), if near-duplicates are wanted

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return *sides(self.size), self.channels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Self:
        names = [self.names[i] for i in indices.tolist()]
        rows: dict[str, Any] = {name: getattr(self, name)[indices] for name in ROWS}
        if self.hashes is not None:
            rows["hashes"] = self.hashes[indices]
        return replace(self, names=names, **rows)

    def join(self, other: FileSplit) -> Self:
        rows: dict[str, Any] = {
            name: np.concatenate([getattr(x, name) for x in (self, other)]) for name in ROWS
        }
        if self.hashes is not None and other.hashes is not None:
            rows["hashes"] = np.concatenate([self.hashes, other.hashes])
        return replace(self, names=[*self.names, *other.names], **rows)

    def images(self, indices: Any) -> np.ndarray:
        chosen = np.arange(len(self))[indices].tolist()
        out = np.empty((len(chosen), *self.image_shape), np.uint8)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for i, image in enumerate(pool.map(self.decode, chosen)):
                out[i] = image
        return out

    def decode(
        self,
        position: int,
        augmentation: Augmentation | None = None,
        stream: Stream | None = None,
    ) -> np.ndarray:
        """uint8 (height, width, channels): the centre view, or a random view.

        Raises:
            UserError: the file is missing or damaged now, although `load` could read it.
        """
        path = self.root / self.names[position]
        try:
            return read_view(
                path, self.size, self.channels, augmentation, stream, self.margin, self.scale
            )
        except BadImage as error:
            raise UserError(f"{path} changed since it was checked: {error}") from error

    def batches(
        self,
        order: np.ndarray,
        batch: int,
        steps: range,
        workers: int,
        augmentation: Augmentation | None = None,
        key: tuple[int | str, ...] = (),
    ) -> Iterator[np.ndarray]:
        """Yield the batches `steps` of the positions in `order`: uint8 (b, height, width, c).

        Grain decodes them in `workers` threads. The view of an image depends only on `key` and
        its position, and not on the first step.
        """
        import grain

        rows = order[steps.start * batch : steps.stop * batch].tolist()
        if not rows:
            return

        def read(position: int) -> np.ndarray:
            stream = Stream(*key, position) if augmentation else None
            return self.decode(position, augmentation, stream)

        threads = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * batch)
        images = grain.MapDataset.source(rows).map(read).to_iter_dataset(threads)
        iterator = iter(images.batch(batch, drop_remainder=False))
        try:
            yield from iterator
        finally:
            iterator.close()  # ends the threads, also if the consumer stopped early


def assemble(listing: Listing, wanted: Wanted) -> Parts:
    """Check all files; use the parts of the data set, or split it.

    Raises:
        UserError: damaged files (unless `skip_bad`), or too few images of a class.
    """
    root, names = listing.root, [name for names, _ in listing.parts.values() for name in names]
    verdicts = inspect(root, names, wanted.cache, wanted.near_duplicates)
    bad = {name: v.problem for name, v in verdicts.items() if v.problem}
    if bad and not wanted.skip_bad:
        raise UserError(_complaint(root, bad))
    good = {name: v for name, v in verdicts.items() if not v.problem}
    wanted = replace(wanted, scale=_scale(root, good, wanted))
    keys = _keys(good, listing, wanted)
    splits = {part: _split(root, *both, good, keys, wanted) for part, both in listing.parts.items()}
    facts: dict[str, Any] = {
        "read_from": str(root),
        "skipped": [{"file": name, "why": why} for name, why in sorted(bad.items())],
        "view": _view(wanted),
        **({"scale": wanted.scale.stored()} if wanted.scale else {}),
        **listing.facts,
    }
    parts = _arranged(listing, splits, wanted, facts)
    checksums = sorted((n, v.sha256) for n, v in good.items())
    checksum = hashlib.sha256("\n".join(f"{n}\0{s}" for n, s in checksums).encode()).hexdigest()
    facts["identical_in_train_and_test"] = _identical(parts, verdicts)
    return replace(parts, checksum=checksum)


def _scale(root: Path, good: dict[str, Verdict], wanted: Wanted) -> GreyScale | None:
    """The given scale, or that of the pictures, after all of them were compared with it."""
    deep = {name: v.values for name, v in good.items() if v.values}
    try:
        scale = wanted.scale or choose(deep.values())
        for name, values in deep.items():
            if scale is not None and (problem := scale.problem(Values.parse(values))):
                raise UserError(f"{name}: {problem}")
    except UserError as error:
        raise UserError(f"{root}: {error}") from None
    return scale


def _view(wanted: Wanted) -> str | None:
    """A description of the centre crop. None if the picture keeps its edges."""
    if not wanted.margin:
        return None
    height, width = sides(wanted.size)
    centre = f"{width} square" if height == width else f"{height}x{width}"
    return f"shorter side to {round(min(height, width) * MARGIN)}, centre {centre}"


def _complaint(root: Path, bad: dict[str, str]) -> str:
    shown = "; ".join(f"{name} ({why})" for name, why in sorted(bad.items())[:3])
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    count = "1 image" if len(bad) == 1 else f"{len(bad)} images"
    return f"{count} in {root} cannot be read: {shown}{more}; repair or remove, or use --skip-bad"


def _keys(good: dict[str, Verdict], listing: Listing, wanted: Wanted) -> dict[str, np.uint64]:
    """The key by which each file comes into a part: of its content, or of its group."""
    names = list(good)
    digests = file_digests(verdict.sha256 for verdict in good.values())
    keys = digests
    if listing.groups:
        groups = [digest(f"group {listing.groups[name]}".encode()) for name in names]
        keys = joined(np.array(groups, np.uint64), equal_pairs(digests))
    elif wanted.group is not None:
        keys = joined(group_keys(names, wanted.group, digests), equal_pairs(digests))
    if wanted.near_duplicates:
        pairs = near_pairs([verdict.perceptual_hash for verdict in good.values()])
        keys = joined(keys, pairs, max(duplicates.FEW, round(duplicates.LARGEST * len(keys))))
    return dict(zip(names, keys, strict=True))


def _split(
    root: Path,
    names: list[str],
    labels: list[Any],
    good: dict[str, Verdict],
    keys: dict[str, np.uint64],
    wanted: Wanted,
) -> FileSplit:
    keep = [i for i, name in enumerate(names) if name in good]
    files = [names[i] for i in keep]
    return FileSplit(
        root,
        files,
        np.array([labels[i] for i in keep], np.int32),
        file_digests(good[name].sha256 for name in files),
        np.array([keys[name] for name in files], np.uint64),
        wanted.size,
        wanted.channels,
        wanted.margin,
        wanted.scale,
        as_bytes(good[name].perceptual_hash for name in files) if wanted.near_duplicates else None,
    )


def _arranged(
    listing: Listing, splits: dict[str, FileSplit], wanted: Wanted, facts: dict[str, Any]
) -> Parts:
    """The final parts. `facts` gets how they were made."""
    train, validation, test = splits["train"], splits.get("validation"), splits.get("test")
    root, classes = listing.root, listing.classes
    facts["split"] = listing.split
    if validation is not None and test is None:
        # As in ImageNet, where results are reported on the part called val.
        test, validation = validation, None
        facts["split"] += "; the validation part is used as the test part"
    test_size = wanted.test if test is None else 0
    needs = 1 + (test_size > 0) + (wanted.validation > 0 and validation is None)
    if wanted.known is None and listing.task != MULTILABEL:
        _enough(root, "train" if len(splits) > 1 else "", train, classes, needs)
    for part, split in (("validation", validation), ("test", test)):
        if split is not None and not len(split):
            raise UserError(f"the {part} part of {root} has no images: add some, or remove it")
    if test is None:
        split_part, rule = rule_of(wanted.split)
        facts["split"] = f"{rule}, seed {wanted.seed}" if test_size else "no test part"
        train, test = split_part(train, test_size, classes, wanted.seed, "test")
    kind: dict[str, Any] = {"task": listing.task, "column_per_label": listing.column_per_label}
    return Parts(listing.name, classes, train, test, validation, facts=facts, **kind)


def rule_of(split: str) -> tuple[Callable[..., Any], str]:
    """The function that splits a part off, and how the facts call the rule."""
    if split == STRATIFIED:
        return split_off, "stratified by class"
    return split_by_content, "by the content of the images"


def _enough(root: Path, part: str, split: FileSplit, classes: tuple[str, ...], least: int) -> None:
    for name, size in zip(classes, np.bincount(split.labels, minlength=len(classes)), strict=True):
        if size < least:
            where = f"the {part} part of {root}" if part else str(root)
            if least == 1:
                raise UserError(
                    f"class {name!r} in {where} has {number(size)}: add some, or remove its folder"
                )
            raise UserError(
                f"class {name!r} in {where} has {number(size)}, but the parts need at least "
                f"{least}: add images, remove the class, or leave out a part with --validation 0 "
                "or --test none (or --test FOLDER)"
            )


def _identical(parts: Parts, verdicts: dict[str, Verdict]) -> int:
    """The number of test files with the same bytes as a training file."""
    if parts.test is None or parts.train.names is None or parts.test.names is None:
        return 0
    training = {verdicts[name].sha256 for name in parts.train.names}
    return sum(verdicts[name].sha256 in training for name in parts.test.names)
