"""`load`: read the data set that --data names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core import records
from reslab.core.errors import UserError, short, unknown, written
from reslab.spec.catalogue import sources

from . import class_names, content, duplicates, folds, python
from .dataset import CLASSIFICATION, Data, Parts
from .images import Size, sides
from .in_memory import arrays
from .provenance import BY_CONTENT, BY_SUFFIX, FOUND_BY, Provenance
from .scale import GreyScale
from .sources import cifar, files, folder, idx, table, web
from .sources.download import home_expanded
from .splits import amount, counts, random_sample

NAMES = {name for name, _ in sources()}
SPLITS = content.CONTENT, content.STRATIFIED
TEST = 0.2  # the default part of a folder that becomes the test part
FOLDER_SIZE = 224  # the default side of the images of a folder, in pixels


def load(
    source: Any,
    *,
    size: Size | None = None,
    channels: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    skip_bad: bool = False,
    test: float | str | os.PathLike[str] | None = TEST,
    cache: str | os.PathLike[str] | None = None,
    folder_size: int = FOLDER_SIZE,
    margin: bool = True,
    images: int | None = None,
    split: str = content.CONTENT,
    group: str | None = None,
    near_duplicates: bool | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    scale: Mapping[str, Any] | None = None,
    found_by: str = BY_CONTENT,
    insecure: bool = False,
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
            test part; 0, "none" or None for none. Or the path of other data, with the same classes,
            that are the test part.
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
        found_by: how pictures of a folder are found: by their "content", or by their "suffix", the
            rule of earlier versions, which read neither AVIF nor linked folders inside a class.
        insecure: accept downloads without TLS, with an invalid certificate, or without a known
            checksum. A wrong checksum is refused in any case.

    Returns:
        The data set. Images are uint8 (n, height, width, channels), labels int32 (n,).

    Raises:
        UserError: the source is unknown, files are damaged or missing, a class has too few
            images, or `near_duplicates` needs a library that is not installed.
    """
    for option, value, choices in (("split", split, SPLITS), ("found_by", found_by, FOUND_BY)):
        if value not in choices:
            raise unknown(option, value, choices)
    near_duplicates = split == content.CONTENT and duplicates.resolve(near_duplicates)
    if channels not in (None, 1, 3):
        raise UserError(f"channels is {channels!r}; give 1 (grey) or 3 (RGB)")
    size = _checked(size)
    test, test_source = _test(test)
    wanted = files.Wanted(
        folder_size if size is None else size,
        channels or 3,
        validation,
        seed,
        skip_bad,
        test,
        None if cache is None else Path(cache),
        margin,
        split,
        group,
        near_duplicates,
        GreyScale.of(scale),
        None if classes is None else tuple(classes),
        found_by == BY_SUFFIX,
    )
    chosen = table.Columns.of(columns or {})
    if not isinstance(source, str | os.PathLike):
        data = _in_python(source, size, channels, wanted, chosen)
        return data if images is None else sample(data, images)
    if group is not None and chosen.group is not None:
        raise UserError("--group and --group-column both name groups: leave one out")
    with web.insecure(insecure):
        parts, place = _read(os.fspath(source), size, channels, wanted, chosen)
        if test_source is not None:
            parts = _with_test(parts, test_source, size, channels, wanted, chosen)
    if classes is not None and parts.task == CLASSIFICATION:
        parts = class_names.match(parts, classes, "the model")
    parts = _with_validation(parts, validation, seed, split)
    provenance: dict[str, Any] = {"source": place, "size": size, "channels": channels}
    provenance |= {"validation": validation, "seed": seed, "skip_bad": skip_bad}
    provenance |= {"test": test_source or test, "folder_size": folder_size, "margin": margin}
    provenance |= {} if classes is None else {"classes": list(classes)}
    provenance |= {"scale": scale} if scale is not None else {}
    provenance |= {"found_by": found_by} if found_by != BY_CONTENT else {}
    if isinstance(parts.train, files.FileSplit):
        provenance |= {"split": split, "group": group, "near_duplicates": near_duplicates}
        provenance |= {"columns": chosen.given()} if chosen.given() else {}
    elif group is not None:
        raise UserError(f"--group is for folders of image files, and {parts.name} has none")
    data = _data(parts, provenance)
    return data if images is None else sample(data, images)


def _in_python(
    source: Any,
    size: Size | None,
    channels: int | None,
    wanted: files.Wanted,
    columns: table.Columns,
) -> Data:
    if wanted.group is not None or columns.given():
        raise UserError("--group and the columns of tables are for files, and these data have none")
    return python.load(
        source,
        size=size,
        channels=channels,
        validation=wanted.validation,
        test=wanted.test,
        seed=wanted.seed,
        folder_size=sides(wanted.size)[0],  # matters if there is no size
        classes=wanted.known,
    )


def _test(test: float | str | os.PathLike[str] | None) -> tuple[float, str | None]:
    """The size of a test part to split off, and the source of one that is given."""
    if test is None or test == "none":
        return 0, None
    if not isinstance(test, str | os.PathLike):
        return test, None
    try:
        return float(os.fspath(test)), None
    except ValueError:
        name = os.fspath(test)
        return 0, name if name in NAMES else str(home_expanded(written(name)).absolute())


def _with_test(
    parts: Parts,
    source: str,
    size: Size | None,
    channels: int | None,
    wanted: files.Wanted,
    columns: table.Columns,
) -> Parts:
    """The parts with the test part, or all images, of other data as the test part."""
    if parts.test is not None:
        raise UserError(f"{parts.name} has a test part: leave out --test {source}")
    scale = getattr(parts.train, "scale", None)
    given = replace(wanted, validation=0, test=0, known=parts.classes, scale=scale)
    other, _ = _read(source, size, channels, given, columns)
    other = class_names.match(other, parts.classes, parts.name)
    test = other.train if other.test is None else other.test
    if test.image_shape != parts.train.image_shape:
        raise UserError(
            f"{source} has images of {test.image_shape}, and {parts.name} of "
            f"{parts.train.image_shape}: set --size and --channels"
        )
    identical = int(np.isin(test.digests, parts.train.digests).sum())
    facts = {**parts.facts, "identical_in_train_and_test": identical}
    skipped = [*parts.facts.get("skipped", ()), *other.facts.get("skipped", ())]
    facts |= {"skipped": skipped} if skipped else {}
    facts["split"] = f"{parts.facts['split']}; test: {source}"
    checksum = hashlib.sha256(f"{parts.checksum} {other.checksum}".encode()).hexdigest()
    return replace(parts, test=test, checksum=checksum, facts=facts)


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
    given = {part: split for part, split in splits.items() if split is not None}
    tallies = {part: counts(split.labels, parts.classes) for part, split in given.items()}
    missing = {
        part: [name for name, count in tally.items() if count == 0]
        for part, tally in tallies.items()
        if not all(tally.values())
    }
    return Data(
        name=parts.name,
        source=provenance["source"],
        classes=parts.classes,
        image_shape=parts.train.image_shape,
        train=parts.train,
        validation=parts.validation,
        test=parts.test,
        checksum=parts.checksum,
        facts={
            **parts.facts,
            "counts": tallies,
            **({"missing_classes": missing} if missing else {}),
        },
        provenance=provenance,
        task=parts.task,
        column_per_label=parts.column_per_label,
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

        return arrays(glyphs.load(wanted.seed, cache), size, channels, wanted.known), source
    if source in idx.SETS:
        return arrays(idx.load_known(source, cache), size, channels, wanted.known), source
    if source in cifar.SETS:
        return arrays(cifar.load_known(source, cache), size, channels, wanted.known), source
    path = home_expanded(written(source)).absolute()
    if not path.exists():
        if len(Path(source).parts) > 1 or source.startswith((".", "~")):
            raise UserError(f"there is no folder {path}; give a folder of class folders, or a name")
        names = [name for name, _ in sources() if name.islower()]
        raise UserError(f"{unknown('data source', source, names)} (nor is there a folder {path})")
    if cifar.recognise(path):
        return arrays(cifar.load_path(path), size, channels, wanted.known), str(path)
    if is_table and not path.is_dir():
        return table.load(path, columns, wanted), str(path)
    if not path.is_dir():
        raise UserError(
            f"{path} is a file; give the folder that holds the class folders, or a table (.csv, "
            ".tsv or .parquet)"
        )
    if idx.is_folder(path):
        return arrays(idx.load_folder(path), size, channels, wanted.known), str(path)
    return folder.load(path, wanted), str(path)


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
