"""A table of files and labels: CSV with a header, as Kaggle and fastai have them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from reslab.core.errors import UserError, unknown, written
from reslab.data.dataset import Parts
from reslab.data.images import SUFFIXES
from reslab.data.sources.files import Listing, Wanted, assemble

SUFFIX = (".csv", ".tsv", ".txt")
# Names by which a column is recognised, in any case, the first that is there.
IMAGE = (
    *("image", "file", "filename", "file_name", "path", "filepath", "image_path", "img", "id"),
    *("image_id", "image_name", "fname", "name"),
)
LABEL = ("label", "labels", "class", "class_name", "category", "target", "species", "breed", "y")
PARTS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}


@dataclass(frozen=True)
class Columns:
    """The names of the columns; None for the usual names, and for no parts and no groups."""

    image: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None

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


def load(path: Path, columns: Columns, wanted: Wanted) -> Parts:
    """Read the files that a table lists.

    Paths are relative to the folder of the table. A name without a suffix is completed
    ("1a2b" for 1a2b.jpg). Rows without a label are left out and counted.

    Raises:
        UserError: a column or a file is missing, a file has two labels, or as for a folder.
    """
    rows, header = _read(path)
    image = _column(path, header, columns.image, IMAGE, "image")
    label = _column(path, header, columns.label, LABEL, "label")
    split, group = (
        None if name is None else _column(path, header, name, (), kind)
        for kind, name in (("split", columns.split), ("group", columns.group))
    )
    labels: dict[str, str] = {}
    parts: dict[str, str] = {}
    groups: dict[str, str] = {}
    unlabelled = 0
    for number, row in rows:
        if not row[label]:
            unlabelled += 1
            continue
        name = _file(path, row[image], number)
        if labels.setdefault(name, row[label]) != row[label]:
            raise UserError(f"{path}, line {number}: {name} has two labels: keep one row")
        parts[name] = "train" if split is None else _part(path, row[split], number)
        if group is not None:
            groups[name] = row[group] or f"alone {name}"
    if not labels:
        raise UserError(f"{path} lists no image with a label")
    classes = _sorted(set(labels.values()))
    if len(classes) < 2:
        raise UserError(f"{path} has one class, {classes[0]!r}; at least two are needed")
    number_of = {name: i for i, name in enumerate(classes)}
    listed: dict[str, tuple[list[str], list[int]]] = {}
    for name, part in parts.items():
        names, numbers = listed.setdefault(part, ([], []))
        names.append(name)
        numbers.append(number_of[labels[name]])
    if "train" not in listed:
        raise UserError(f"{path}: no row of the column {columns.split!r} is for training")
    source = "no parts" if split is None else f"the column {columns.split}: {', '.join(listed)}"
    facts = {"table": path.name, **({"unlabelled_rows": unlabelled} if unlabelled else {})}
    listing = Listing(path.parent, path.stem, tuple(classes), listed, source, groups, facts)
    parts_and_labels = sorted((name, parts[name], labels[name]) for name in labels)
    read = assemble(listing, wanted)
    digest = hashlib.sha256(f"{read.checksum} {parts_and_labels}".encode())
    return replace(read, checksum=digest.hexdigest())


def _read(path: Path) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """The rows with their line numbers, and the header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = max(",;\t|", key=file.readline().count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            lines = [(reader.line_num, line) for line in reader]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a table in UTF-8: {error}") from None
    if not lines:
        raise UserError(f"{path} is empty; its first line names the columns")
    header = [cell.strip() for cell in lines[0][1]]
    rows = []
    for number, line in lines[1:]:
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            raise UserError(
                f"{path}, line {number} has {len(line)} cells, and the first line names "
                f"{len(header)} columns"
            )
        rows.append((number, [cell.strip() for cell in line]))
    return rows, header


def _column(
    path: Path, header: Sequence[str], name: str | None, usual: Sequence[str], kind: str
) -> int:
    """The position of a column, by its name or by one of the usual names."""
    if name is not None:
        if name not in header:
            raise unknown(f"column of {path.name}", name, header)
        return header.index(name)
    lower = [cell.lower() for cell in header]
    position = next((lower.index(word) for word in usual if word in lower), None)
    if position is None:
        raise UserError(
            f"{path} has the columns {', '.join(header)}: name the one of the {kind}s with "
            f"--{kind}-column"
        )
    return position


def _file(path: Path, name: str, number: int) -> str:
    """The name of the file, relative to the table's folder, with its suffix."""
    if not name:
        raise UserError(f"{path}, line {number} names no file")
    name = written(name).replace("\\", "/")
    if Path(name).suffix.lower() in SUFFIXES:
        return name
    with_suffix = (name + suffix for suffix in sorted(SUFFIXES))
    return next((file for file in with_suffix if (path.parent / file).exists()), name)


def _part(path: Path, value: str, number: int) -> str:
    if value.lower() not in PARTS:
        raise UserError(f"{path}, line {number}: {unknown('part', value.lower(), PARTS)}")
    return PARTS[value.lower()]


def _sorted(labels: set[str]) -> list[str]:
    """In the order of the numbers if all labels are numbers, else of the alphabet."""
    if all(label.lstrip("-").isdecimal() for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)
