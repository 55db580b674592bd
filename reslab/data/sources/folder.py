"""A folder of class folders: its layout, its splits, and reading it with Grain."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from reslab.core.errors import UserError, written
from reslab.core.rng import Stream
from reslab.data.augment import Augmentation
from reslab.data.dataset import Parts
from reslab.data.images import (
    IGNORED,
    MARGIN,
    SUFFIXES,
    BadImage,
    Size,
    listed,
    read_view,
    sides,
    unread,
)
from reslab.data.scan import Verdict, inspect
from reslab.data.splits import carve, number

_VALIDATION = ("val", "valid", "validation")


@dataclass(frozen=True)
class Wanted:
    """What `load` was asked for, as far as folders care."""

    size: Size
    channels: int
    validation: float
    seed: int
    skip_bad: bool
    test: float
    cache: Path | None
    margin: bool = True  # whether the centre view leaves one out


@dataclass(frozen=True, eq=False)
class FileSplit:
    """Image files, decoded when they are asked for."""

    root: Path
    names: Sequence[str]  # relative to root, with /
    labels: np.ndarray  # int32 (n,)
    size: Size
    channels: int
    margin: bool = True

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return *sides(self.size), self.channels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Self:
        names = [self.names[i] for i in indices.tolist()]
        return replace(self, names=names, labels=self.labels[indices])

    def join(self, other: FileSplit) -> Self:
        labels = np.concatenate([self.labels, other.labels])
        return replace(self, names=[*self.names, *other.names], labels=labels)

    def images(self, indices: Any) -> np.ndarray:
        chosen = np.arange(len(self))[indices].tolist()
        out = np.empty((len(chosen), *self.image_shape), np.uint8)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for i, image in enumerate(pool.map(self.decode, chosen)):
                out[i] = image
        return out

    def decode(
        self, position: int, how: Augmentation | None = None, stream: Stream | None = None
    ) -> np.ndarray:
        """uint8 (height, width, channels): the centre view, or one that `how` draws.

        Raises:
            UserError: the file is gone or damaged, although it was whole when it was loaded.
        """
        path = self.root / self.names[position]
        try:
            return read_view(path, self.size, self.channels, how, stream, self.margin)
        except BadImage as error:
            raise UserError(f"{path} changed since it was checked: {error}") from error

    def batches(
        self,
        order: np.ndarray,
        batch: int,
        steps: range,
        workers: int,
        how: Augmentation | None = None,
        key: tuple[int | str, ...] = (),
    ) -> Iterator[np.ndarray]:
        """The batches `steps` of the positions in `order`, uint8 (b, height, width, channels).

        Grain decodes them in `workers` threads. An image's view depends on `key` and its
        position alone, so beginning at a later step changes nothing.
        """
        import grain

        rows = order[steps.start * batch : steps.stop * batch].tolist()
        if not rows:
            return

        def read(position: int) -> np.ndarray:
            return self.decode(position, how, Stream(*key, position) if how else None)

        threads = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * batch)
        images = grain.MapDataset.source(rows).map(read).to_iter_dataset(threads)
        iterator = iter(images.batch(batch, drop_remainder=False))
        try:
            yield from iterator
        finally:
            iterator.close()  # ends the threads, also when the consumer stopped early


def load(root: Path, wanted: Wanted) -> Parts:
    """The folder's own parts, or a stratified split of it; `checks.inspect`ed first.

    Raises:
        UserError: no images, fewer than two classes, too few images of a class, classes that
            differ between the parts, or damaged files (unless `skip_bad`).
    """
    places = _places(root)
    classes = tuple(sorted(p.name for p in _folders(places["train"])))
    listed = {part: _listed(place, classes, part, root) for part, place in places.items()}
    files = [name for names, _ in listed.values() for name in names]
    if not files:
        raise UserError(f"there are no images in {root} (looked for {', '.join(sorted(SUFFIXES))})")
    if len(classes) < 2:
        raise UserError(f"{places['train']} has one class, {classes[0]!r}; two are the least")
    verdicts = inspect(root, files, wanted.cache)
    bad = {name: v.problem for name, v in verdicts.items() if v.problem}
    if bad and not wanted.skip_bad:
        raise UserError(_complaint(root, bad))
    splits = {
        part: _split(root, names, labels, bad, wanted) for part, (names, labels) in listed.items()
    }
    facts: dict[str, Any] = {
        "read_from": str(root),
        "skipped": [{"file": name, "why": why} for name, why in sorted(bad.items())],
        "view": _view(wanted),
    }
    parts = _arranged(root, splits, classes, wanted, facts)
    whole = sorted((n, v.sha256) for n, v in verdicts.items() if not v.problem)
    checksum = hashlib.sha256("\n".join(f"{n}\0{s}" for n, s in whole).encode()).hexdigest()
    facts["identical_in_train_and_test"] = _shared(parts, verdicts)
    return replace(parts, checksum=checksum)


def _view(wanted: Wanted) -> str | None:
    """How pictures lose a margin and become images; None where they keep all that fits."""
    if not wanted.margin:
        return None
    height, width = sides(wanted.size)
    centre = f"{width} square" if height == width else f"{height}x{width}"
    return f"shorter side to {round(min(height, width) * MARGIN)}, centre {centre}"


def _places(root: Path) -> dict[str, Path]:
    """Where each part is: train and what lies beside it, or all of root as train."""
    inside = {p.name.lower(): p for p in _folders(root)}
    validation = next((inside[v] for v in _VALIDATION if v in inside), None)
    if "train" not in inside:
        if validation and "test" in inside:
            raise UserError(f"{root} has {validation.name}/ and test/, but no train/")
        return {"train": root}
    places = {"train": inside["train"]}
    if validation:
        places["validation"] = validation
    if "test" in inside:
        places["test"] = inside["test"]
    return places


def _folders(place: Path) -> list[Path]:
    try:
        inside = sorted(place.iterdir())
    except OSError as error:
        raise UserError(f"cannot read {place}: {error.strerror}") from error
    found = [p for p in inside if p.is_dir() and p.name not in IGNORED and p.name[0] != "."]
    for path in found:
        written(path.name)
    return found


def _listed(
    place: Path, classes: tuple[str, ...], part: str, root: Path
) -> tuple[list[str], list[int]]:
    """The image files below each class folder, relative to root, and their labels."""
    found = {p.name: p for p in _folders(place)}
    if not found:
        loose = any(p.suffix.lower() in SUFFIXES for p in place.iterdir())
        what = "images, but no class folders" if loose else "no class folders"
        raise UserError(f"{place} has {what}: put each class's images into a folder of its own")
    if strange := sorted(set(found) - set(classes)):
        raise UserError(f"{place} has the class {strange[0]!r}, which train/ does not have")
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if part != "train" and name not in found:
            raise UserError(f"{place} has no folder for the class {name!r}, which train/ has")
        files = listed(found[name])
        if not files and (others := unread(found[name])):
            raise UserError(f"{found[name]} has {others}")
        names += [file.relative_to(root).as_posix() for file in files]
        labels += [label] * len(files)
    return names, labels


def _complaint(root: Path, bad: dict[str, str]) -> str:
    shown = "; ".join(f"{name} ({why})" for name, why in sorted(bad.items())[:3])
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    count = "1 damaged image" if len(bad) == 1 else f"{len(bad)} damaged images"
    return f"{count} in {root}: {shown}{more}; repair or remove, or leave out with --skip-bad"


def _split(
    root: Path, names: list[str], labels: list[int], bad: dict[str, str], wanted: Wanted
) -> FileSplit:
    keep = [i for i, name in enumerate(names) if name not in bad]
    kept = np.array([labels[i] for i in keep], np.int32)
    files = [names[i] for i in keep]
    return FileSplit(root, files, kept, wanted.size, wanted.channels, wanted.margin)


def _arranged(
    root: Path,
    splits: dict[str, FileSplit],
    classes: tuple[str, ...],
    wanted: Wanted,
    facts: dict[str, Any],
) -> Parts:
    """The parts as they will be used; says in `facts` how they came about."""
    train, validation, test = splits["train"], splits.get("validation"), splits.get("test")
    own = " and ".join(f"{name}/" for name in splits)
    facts["split"] = f"the folder's own {own}"
    if validation is not None and test is None:
        # ImageNet's habit: what is called val is what results are reported on.
        test, validation = validation, None
        facts["split"] += "; its validation part is the test part, what is judged"
    share = wanted.test if test is None else 0
    needs = 1 + (share > 0) + (wanted.validation > 0 and validation is None)
    for part, split, least in (
        ("train", train, needs),
        ("validation", validation, 1),
        ("test", test, 1),
    ):
        if split is not None:
            _enough(root, part if len(splits) > 1 else "", split, classes, least)
    if test is None:
        facts["split"] = f"stratified by class, seed {wanted.seed}" if share else "no test part"
        train, test = carve(train, share, classes, wanted.seed, "test")
    return Parts(root.name, classes, train, test, validation, facts=facts)


def _enough(root: Path, part: str, split: FileSplit, classes: tuple[str, ...], least: int) -> None:
    for name, size in zip(classes, np.bincount(split.labels, minlength=len(classes)), strict=True):
        if size < least:
            where = f"{part}/ of {root}" if part else str(root)
            raise UserError(
                f"class {name!r} in {where} has {number(size)}, but the parts need at least"
                f" {least}: add images or remove the class"
            )


def _shared(parts: Parts, verdicts: dict[str, Verdict]) -> int:
    """How many test files are byte for byte files of the training part."""
    if parts.test is None or parts.train.names is None or parts.test.names is None:
        return 0
    seen = {verdicts[name].sha256 for name in parts.train.names}
    return sum(verdicts[name].sha256 in seen for name in parts.test.names)
