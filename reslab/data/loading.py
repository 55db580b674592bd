"""`load`: read the data set that --data names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np
from msgspec import Meta

from reslab.core import records
from reslab.core.errors import UserError, short, unknown, written
from reslab.core.records import Amount, Count
from reslab.spec.catalogue import sources

from . import content, duplicates, folds, python
from .dataset import CLASSIFICATION, ArraySplit, Data, Parts
from .images import Size, resize_array, sides
from .sources import cifar, files, folder, idx, table
from .sources.download import home_expanded
from .splits import amount, counts, random_sample

SPLITS = content.CONTENT, content.STRATIFIED
FOLDER_SIZE = 224  # the default side of the images of a folder, in pixels


def load(
    source: Any,
    *,
    size: Size | None = None,
    channels: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    skip_bad: bool = False,
    test: float | None = 0.2,
    cache: str | os.PathLike[str] | None = None,
    folder_size: int = FOLDER_SIZE,
    margin: bool = True,
    images: int | None = None,
    split: str = content.CONTENT,
    group: str | None = None,
    near_duplicates: bool | None = None,
    columns: Mapping[str, str] | None = None,
) -> Data:
    """Load a data set by name, or from a folder.

    A set with a name is looked for in $RESLAB_DATA/NAME, in the cache folder, and where Debian's
    packages put data (all EMNIST sets under the name `emnist`). Then it is downloaded, unless
    $RESLAB_OFFLINE is set. `glyphs` needs no files.

    Args:
        source: a name that `reslab list` shows, or the path of a folder of class folders, of a
            table (CSV or Parquet) of files and labels, of IDX files, or of CIFAR's binary files.
            Also data in Python: (images, labels), PyTorch's and Keras's data sets and other
            iterables, or {"train": ..., "validation": ..., "test": ..., "classes": names} of them.
        size: side of the square images in pixels, or (height, width). None: `folder_size` for
            folders, unchanged for all other sources.
        channels: 1 (grey) or 3 (RGB). None: 3 for folders, unchanged for all other sources.
        validation: a fraction below 1 or a number of images, taken from the training part,
            stratified by class; 0 for none. If the data have a validation part (a folder with
            train, val and test; glyphs), that one is used, and 0 adds it to the training part.
        seed: of the random splits, and of the images of glyphs.
        skip_bad: leave out damaged images of a folder. False: they are an error.
        test: the fraction or number of images of a folder without a test part that becomes the
            test part; 0 or None for none.
        cache: folder of downloads. None: $RESLAB_CACHE, or else the user's cache folder.
        folder_size: size of the images of a folder if `size` is None.
        margin: whether the pictures of a folder are scaled to 256/224 of the size and lose the
            edges, as is usual at 224. Arrays keep their edges.
        images: the number of training images to keep, see `sample`. None: all.
        split: how a part is split off a folder. "content": by a hash of each image's content and
            the seed, so that an image keeps its part when others are added, moved, renamed or
            deleted; equal images come into one part. "stratified": the rule of earlier versions,
            with exact proportions of the classes. Arrays are always split by the latter.
        group: a regular expression. Files of a folder whose path gives the same text for its first
            group (or for the whole match) come into one part, such as `(patient[0-9]+)_`.
        near_duplicates: whether pictures of a folder that look the same come into one part; needs
            the extra `duplicates`. None: if it is installed.
        columns: the names of the columns of a table by their kind: "image" (paths relative to the
            folder of the table, or to a folder `images` beside it; default: the first of image,
            file, path, id and the like), "label" (default: label, class, category, target and the
            like), "split" (train, val or test, or truth values in a column such as is_valid;
            default: none, the table is split by `split`), and "group" (files with the same entry
            come into one part; default: none). For several labels of an image: "label_columns"
            (columns of 0 and 1: names or patterns with commas between them), or
            "label_separator" (what stands between the labels of a cell; "" for one label in each
            cell; default: `|` or `;` if there are some, or spaces if no class name can have them).

    Returns:
        The data set. Images are uint8 (n, height, width, channels), labels int32 (n,).

    Raises:
        UserError: the source is unknown, files are damaged or missing, a class has too few
            images, or `near_duplicates` needs a library that is not installed.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    near_duplicates = split == content.CONTENT and duplicates.resolve(near_duplicates)
    if channels not in (None, 1, 3):
        raise UserError(f"channels is {channels!r}; give 1 (grey) or 3 (RGB)")
    size = _checked(size)
    at = Path(cache) if cache is not None else None
    wanted = files.Wanted(
        folder_size if size is None else size,
        channels or 3,
        validation,
        seed,
        skip_bad,
        test or 0,
        at,
        margin,
        split,
        group,
        near_duplicates,
    )
    chosen = table.Columns.of(columns or {})
    if not isinstance(source, str | os.PathLike):
        if group is not None or chosen.given():
            raise UserError(
                "--group and the columns of tables are for files, and these data have none"
            )
        arguments: dict[str, Any] = {"size": size, "channels": channels, "validation": validation}
        arguments |= {"test": test, "seed": seed, "folder_size": folder_size}
        made = python.load(source, **arguments)
        return made if images is None else sample(made, images)
    if group is not None and chosen.group is not None:
        raise UserError("--group and --group-column both name groups: leave one out")
    parts, place = _read(os.fspath(source), size, channels, wanted, chosen)
    parts = _with_validation(parts, validation, seed, split)
    options: dict[str, Any] = {
        "size": size,
        "channels": channels,
        "validation": validation,
        "seed": seed,
    }
    options |= {"skip_bad": skip_bad, "test": test, "folder_size": folder_size, "margin": margin}
    provenance = {"source": place, **options}
    if isinstance(parts.train, files.FileSplit):
        provenance |= {"split": split, "group": group, "near_duplicates": near_duplicates}
        provenance |= {"columns": chosen.given()} if chosen.given() else {}
    elif group is not None:
        raise UserError(f"--group is for folders of image files, and {parts.name} has none")
    data = _data(parts, provenance)
    return data if images is None else sample(data, images)


class Provenance(TypedDict):
    """The arguments of `load`, and the fold, as a run keeps them."""

    source: str
    size: NotRequired[Count | list[Count] | None]
    channels: NotRequired[Count | None]
    validation: NotRequired[Amount]
    seed: NotRequired[int]
    skip_bad: NotRequired[bool]
    test: NotRequired[Amount | None]
    folder_size: NotRequired[Count]
    margin: NotRequired[bool]
    images: NotRequired[Count | None]
    split: NotRequired[str]
    group: NotRequired[str | None]
    near_duplicates: NotRequired[bool | None]
    columns: NotRequired[dict[str, Any]]
    fold: NotRequired[Annotated[list[Count], Meta(min_length=2, max_length=2)]]


def from_provenance(provenance: Mapping[str, Any]) -> Data:
    """Load the data that have this provenance, which a run keeps.

    Runs of earlier versions do not name their rule: they split folders by "stratified".
    """
    try:
        records.check(provenance, Provenance)
    except records.Damaged as error:
        raise UserError(f"the recorded data cannot be loaded: {error}") from None
    if odd := set(provenance) - set(Provenance.__annotations__):
        raise UserError(
            f"the recorded data have the option {short(min(odd))}, which this version of reslab "
            "does not know: use the version that wrote them"
        )
    arguments = {"split": content.STRATIFIED, **provenance}
    k, of = arguments.pop("fold", (0, 0))
    data = load(**arguments)
    return folds.fold(data, k, of) if of else data


def sample(data: Data, images: int) -> Data:
    """Keep a stratified sample of the training images.

    The sample does not depend on the seed of the data. Validation and test stay unchanged.

    Args:
        data: the data set.
        images: how many training images to keep.

    Returns:
        A data set with fewer training images; `data` itself if it has exactly this many.

    Raises:
        UserError: there are fewer training images, or the sample has no room for each class.
    """
    n = len(data.train)
    if images == n:
        return data
    if not 0 < images < n:
        raise UserError(
            f"{data.name} has {n:,} training images: choose a sample of 1 to {n:,}, not {images:,}"
        )
    train = data.train.take(random_sample(data.train.labels, images, data.classes))
    tallies = {**data.facts.get("counts", {}), "train": counts(train.labels, data.classes)}
    rule = "stratified" if data.task == CLASSIFICATION else "random"
    facts = {"sample": f"{images:,} of {n:,} training images, {rule}, seed 0"}
    return replace(
        data,
        train=train,
        facts={**data.facts, **facts, "counts": tallies},
        provenance={**data.provenance, "images": images} if data.provenance else {},
    )


def _checked(size: Any) -> Size | None:
    """Check the size. From JSON, a pair comes as a list."""
    both = size if isinstance(size, list | tuple) else (size,) * 2
    if size is None:
        return None
    if len(both) != 2 or not all(isinstance(n, int) and 1 <= n <= 4096 for n in both):
        raise UserError(f"size is {size!r}; give the side of the images in pixels, 1 to 4096")
    return size if isinstance(size, int) else (both[0], both[1])


def _data(parts: Parts, provenance: dict[str, Any]) -> Data:
    splits = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    tallies = {k: counts(s.labels, parts.classes) for k, s in splits.items() if s is not None}
    return Data(
        name=parts.name,
        source=provenance["source"],
        classes=parts.classes,
        image_shape=parts.train.image_shape,
        train=parts.train,
        validation=parts.validation,
        test=parts.test,
        checksum=parts.checksum,
        facts={**parts.facts, "counts": tallies},
        provenance=provenance,
        task=parts.task,
    )


def _read(
    source: str,
    size: Size | None,
    channels: int | None,
    wanted: files.Wanted,
    columns: table.Columns,
) -> tuple[Parts, str]:
    """The parts at this size, and the name or absolute path of the source."""
    cache = wanted.cache
    is_table = Path(source).suffix.lower() in table.SUFFIX
    if columns.given() and not is_table:
        option = table.option(next(iter(columns.given())))
        raise UserError(f"{option} is for a table, and {source} is none: give a .csv file")
    if not source.strip():
        raise UserError("--data is empty: give a name of `reslab list`, or a folder")
    if source == "glyphs":
        from .sources import glyphs

        return _arrays(glyphs.load(wanted.seed, cache), size, channels), source
    if source in idx.SETS:
        return _arrays(idx.load_known(source, cache), size, channels), source
    if source in cifar.SETS:
        return _arrays(cifar.load_known(source, cache), size, channels), source
    path = home_expanded(written(source)).absolute()
    if not path.exists():
        if len(Path(source).parts) > 1 or source.startswith((".", "~")):
            raise UserError(f"there is no folder {path}; give a folder of class folders, or a name")
        names = [name for name, _ in sources() if name.islower()]
        raise UserError(f"{unknown('data source', source, names)} (nor is there a folder {path})")
    if cifar.recognise(path):
        return _arrays(cifar.load_path(path), size, channels), str(path)
    if is_table and not path.is_dir():
        return table.load(path, columns, wanted), str(path)
    if not path.is_dir():
        raise UserError(
            f"{path} is a file; give the folder that holds the class folders, or a table (.csv, "
            ".tsv or .parquet)"
        )
    if idx.is_folder(path):
        return _arrays(idx.load_folder(path), size, channels), str(path)
    return folder.load(path, wanted), str(path)


def _arrays(parts: Parts, size: Size | None, channels: int | None) -> Parts:
    """Check and convert data in memory, and compute their checksum."""
    splits = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    arrays = {k: s for k, s in splits.items() if isinstance(s, ArraySplit)}
    for part, split in arrays.items():
        sizes = np.bincount(split.labels, minlength=len(parts.classes))
        if (sizes == 0).any():
            missing = parts.classes[int(np.argmin(sizes))]
            raise UserError(f"{parts.name}: the {part} part has no image of class {missing!r}")
    if len(parts.classes) < 2:
        raise UserError(f"{parts.name} has {len(parts.classes)} class; at least two are needed")
    checksum = _checksum(parts.classes, arrays)
    converted: dict[str, Any] = {k: _convert(s, size, channels) for k, s in arrays.items()}
    return replace(parts, checksum=checksum, **converted)


def _checksum(classes: tuple[str, ...], splits: dict[str, ArraySplit]) -> str:
    digest = hashlib.sha256(repr(classes).encode())
    for part, split in splits.items():
        digest.update(f"{part}{split.array.shape}".encode())
        digest.update(np.ascontiguousarray(split.array).data)
        digest.update(split.labels.astype("<i4").tobytes())
    return digest.hexdigest()


def _convert(split: ArraySplit, size: Size | None, channels: int | None) -> ArraySplit:
    height, width, depth = split.image_shape
    if channels in (None, depth) and (size is None or sides(size) == (height, width)):
        return split
    digests = content.array_digests(split.array)
    resized = resize_array(split.array, size, channels or depth)
    return replace(split, array=resized, row_digests=digests)


def _with_validation(parts: Parts, validation: float, seed: int, split: str) -> Parts:
    """Use the validation part of the data, or split one off the training part."""
    if parts.validation is not None:
        amount(validation, len(parts.train))  # only to check it
        if validation != 0:
            return parts
        joined = {
            **parts.facts,
            "validation": "none, as requested: the validation part of the data joined training",
        }
        return replace(
            parts, train=parts.train.join(parts.validation), validation=None, facts=joined
        )
    of_files = isinstance(parts.train, files.FileSplit)
    split_part, rule = files.rule_of(split if of_files else content.STRATIFIED)
    train, held_out = split_part(parts.train, validation, parts.classes, seed)
    if held_out is None:
        return parts
    if train.labels.ndim > 1:
        rule = files.rule_of(content.CONTENT)[1]
    rule = rule.replace("stratified by class", "stratified")
    facts = {
        **parts.facts,
        "validation": f"{len(held_out)} images of the training part, {rule}, seed {seed}",
    }
    return replace(parts, train=train, validation=held_out, facts=facts)
