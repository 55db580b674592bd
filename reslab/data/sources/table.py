"""A table of files and labels (CSV or Parquet), as Kaggle, fastai and timm users have them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from reslab.core.errors import UserError, short, unknown, written
from reslab.data.dataset import MULTILABEL, PARTS, Parts
from reslab.data.formats import SUFFIXES
from reslab.data.sources import table_files, table_labels
from reslab.data.sources.files import Listing, Wanted, assemble
from reslab.data.sources.table_files import SUFFIX as SUFFIX
from reslab.data.sources.table_files import LabelTable

# Names by which a column is recognised, in any case, the first that is there.
IMAGE = (
    *("image", "file", "filename", "file_name", "path", "filepath", "image_path", "img", "id"),
    *("image_id", "image_name", "fname", "name"),
)
# A column of truth values, such as fastai's is_valid: what is true, by the name of the column.
TRUE_PART = {f"is_{name}": part for name, part in PARTS.items()}
SPLIT = ("split", "subset", "partition", *TRUE_PART)  # columns that are mentioned if they are there
FOLDERS = ("images", "imgs", "img")  # beside the table, where its files may be


@dataclass(frozen=True)
class Columns:
    """The names of the columns; None for the usual names, and for no parts and no groups.

    `label_columns` names several columns of 0 and 1, `label_separator` what stands between several
    labels in one cell.
    """

    image: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    label_columns: str | None = None
    label_separator: str | None = None

    @classmethod
    def of(cls, names: Mapping[str, str]) -> Self:
        """From names by kind; raises UserError for an unknown kind."""
        for kind in names:
            if kind not in cls.__dataclass_fields__:
                raise unknown("kind of column", kind, cls.__dataclass_fields__)
        return cls(**names)

    def given(self) -> dict[str, str]:
        """The names that are set, by kind."""
        return {kind: name for kind, name in vars(self).items() if name is not None}


def option(kind: str) -> str:
    """The option of the command line that names a column of this kind."""
    return f"--{kind.replace('_', '-')}" + ("" if "_" in kind else "-column")


def load(path: Path, columns: Columns, wanted: Wanted) -> Parts:
    """Read the files that a table lists.

    Paths are relative to the folder of the table, or to a folder `images` in it. A name without a
    suffix is completed ("1a2b" for 1a2b.jpg). Rows without a label are left out and counted; where
    images have several labels, an empty cell is an image without a label.

    Raises:
        UserError: a column or a file is missing, a file has two labels, or as for a folder.
    """
    table = table_files.read(path)
    image = _image_column(table, columns.image)
    split, group = (
        None if name is None else table.column(name) for name in (columns.split, columns.group)
    )
    labels = table_labels.read(
        table, columns.label, columns.label_columns, columns.label_separator, wanted.known or ()
    )
    files = _Files(path.parent)
    part_of = _part_reader(table, split)
    listed: dict[str, Any] = {}
    parts: dict[str, str] = {}
    groups: dict[str, str] = {}
    for (number, row), label in zip(table.rows, labels.rows, strict=True):
        if label is None:
            continue
        name = files.name(table.where(number), row[image])
        if listed.setdefault(name, label) != label:
            raise UserError(
                f"{table.where(number)}: {name} has two labels: keep one row"
                ", or join them in one cell as in 'a|b'"
            )
        parts[name] = part_of(number, row)
        if group is not None:
            groups[name] = row[group] or f"alone {name}"
    _check(table, labels, listed, parts, columns, wanted.known)
    facts = {**_facts(table, labels, listed, columns), **files.facts()}
    where = "no parts"
    by_part = _by_part(labels, listed, parts)
    if split is not None:
        where = f"the column {columns.split}: {', '.join(by_part)}"
    task: dict[str, Any] = {"column_per_label": labels.in_columns}
    task |= {"task": MULTILABEL} if labels.several else {}
    root, classes = path.parent, labels.classes
    listing = Listing(root, path.stem, classes, by_part, where, groups, facts, **task)
    read = assemble(listing, wanted)
    rows = sorted((name, parts[name], _text(listed[name])) for name in listed)
    digest = hashlib.sha256(f"{read.checksum} {rows}".encode())
    return replace(read, checksum=digest.hexdigest())


def _text(label: str | frozenset[str]) -> Any:
    return label if isinstance(label, str) else sorted(label)


def _check(
    table: LabelTable,
    labels: table_labels.TableLabels,
    listed: Mapping[str, Any],
    parts: Mapping[str, str],
    columns: Columns,
    known: Sequence[str] | None,
) -> None:
    path, classes = table.path, labels.classes
    if not listed:
        raise UserError(f"{path} lists no image with a label")
    if len(classes) < 2 and not (known and classes):
        name = f"one class, {classes[0]!r}" if classes else "no class"
        raise UserError(f"{path} has {name}; at least two are needed")
    if "train" not in parts.values():
        raise UserError(f"{path}: no row of the column {columns.split!r} is for training")


def _by_part(
    labels: table_labels.TableLabels, listed: Mapping[str, Any], parts: Mapping[str, str]
) -> dict[str, tuple[list[str], list[Any]]]:
    """Names and numbers of labels by part; several labels are a row of 0 and 1."""
    number_of = {name: i for i, name in enumerate(labels.classes)}
    by_part: dict[str, tuple[list[str], list[Any]]] = {}
    for name, part in parts.items():
        label = listed[name]
        names, targets = by_part.setdefault(part, ([], []))
        names.append(name)
        if labels.several:
            targets.append([int(each in label) for each in labels.classes])
        else:
            targets.append(number_of[label])
    return by_part


def _facts(
    table: LabelTable, labels: table_labels.TableLabels, listed: Mapping[str, Any], columns: Columns
) -> dict[str, Any]:
    facts: dict[str, Any] = {"table": table.path.name}
    if unlabelled := sum(label is None for label in labels.rows):
        facts["unlabelled_rows"] = unlabelled
    if labels.several:
        facts["labels"] = f"several per image: {labels.text}"
        facts["images_without_label"] = sum(not label for label in listed.values())
    unused = table.usual(SPLIT)
    if columns.split is None and unused is not None:
        name = table.header[unused]
        facts["unused_column"] = f"{name}; --split-column {name} takes the parts from it"
    return facts


def _image_column(table: LabelTable, name: str | None) -> int:
    position = table.usual(IMAGE) if name is None else table.column(name)
    if position is None:
        raise UserError(
            f"{table.path} has the columns {', '.join(table.header)}: name the one of the images "
            "with --image-column"
        )
    if any(not isinstance(row[position], str) for _, row in table.rows):
        raise UserError(
            f"{table.path}: the column {table.header[position]} holds no paths: write the pictures "
            "as files, and their paths into the table"
        )
    return position


class _Files:
    """Finds the files of a table, and counts those in a folder beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders = ["", *(f"{name}/" for name in FOLDERS if (root / name).is_dir())]
        self.found_in: dict[str, int] = {}

    def name(self, where: str, cell: str) -> str:
        """The name of the file relative to the root, with its suffix."""
        if not cell:
            raise UserError(f"{where} names no file")
        if "\0" in cell:
            raise UserError(f"{where}: {short(cell)} is not the name of a file: correct the row")
        name = written(cell).replace("\\", "/")
        for folder in self.folders:
            for suffix in self._suffixes(name):
                if os.path.isfile(self.root / f"{folder}{name}{suffix}"):  # False for odd names
                    self.found_in[folder] = self.found_in.get(folder, 0) + 1
                    return f"{folder}{name}{suffix}"
        return name

    def _suffixes(self, name: str) -> list[str]:
        return ["", *([] if Path(name).suffix.lower() in SUFFIXES else sorted(SUFFIXES))]

    def facts(self) -> dict[str, str]:
        folders = [folder for folder in self.found_in if folder]
        return {"images_from": ", ".join(folders)} if folders else {}


def _part_reader(table: LabelTable, split: int | None) -> Any:
    """The function that gives the part of a row."""
    if split is None:
        return lambda number, row: "train"
    name = table.header[split]
    values = {row[split].lower() for _, row in table.rows}
    truth = values <= {"0", "1", "true", "false", "yes", "no"}
    if truth and (part := TRUE_PART.get(name.lower())):
        rest = "validation" if part == "train" else "train"
        return lambda number, row: part if table_labels.TRUTH[row[split].lower()] else rest

    def part_of(number: int, row: list[str]) -> str:
        value = row[split].lower()
        if value not in PARTS:
            if truth:
                raise UserError(
                    f"{table.path}: the column {name} has {', '.join(sorted(values))}, which does "
                    "not say a part: write train, val or test, or call the column is_valid"
                )
            raise UserError(f"{table.where(number)}: {unknown('part', value, PARTS)}")
        return PARTS[value]

    return part_of
