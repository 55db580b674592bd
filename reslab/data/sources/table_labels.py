"""The labels in a table: one for each image, or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from reslab.core.errors import UserError, unknown

from .table_files import LabelTable

LABEL = (
    *("label", "labels", "class", "class_name", "category", "target", "species", "breed", "y"),
    *("tags", "tag", "classes"),
)
SURE_SEPARATORS = "|;"  # class names rarely have them, but they often have spaces
NAMES = {" ": "a space", "\t": "a tab"}
TRUTH = {
    **dict.fromkeys(("1", "true", "yes", "1.0"), 1),
    **dict.fromkeys(("0", "false", "no", "0.0", "-1", "-1.0"), 0),
}
NEGATIVE = {"-1", "-1.0"}  # stands for 0 in a table without 0, as in CelebA
ZERO = {"0", "0.0"}


@dataclass(frozen=True)
class TableLabels:
    """The labels of the rows.

    Attributes:
        classes: In the order of the numbers if all names are numbers, else of the alphabet; in the
            order of the columns if each class has a column.
        rows: For each row its label, or the set of its labels; None for a row that is left out.
        several: Whether an image can have several labels, or none.
        text: How the labels were read; "" for one label in each cell.
        in_columns: Whether each class has a column.
    """

    classes: tuple[str, ...]
    rows: list[str | frozenset[str] | None]
    several: bool = False
    text: str = ""
    in_columns: bool = False


def read(
    table: LabelTable,
    label: str | None,
    columns: str | None = None,
    separator: str | None = None,
    known: Sequence[str] = (),
) -> TableLabels:
    """Read the labels of a table.

    Args:
        table: The table.
        label: The name of the column; None for one of the usual names.
        columns: Names of columns of 0 and 1, or patterns such as "has_*", with commas between them.
        separator: What stands between the labels of a cell; "" for cells with one label; None to
            find out.
        known: The classes of a model that is evaluated. A table without a usual column of labels
            may have columns of these names; one of them is enough.

    Raises:
        UserError: There is no such column, or a cell cannot be understood.
    """
    if columns is not None:
        if label is not None or separator is not None:
            other = "--label-column" if label is not None else "--label-separator"
            raise UserError(f"--label-columns has one class in each column: leave out {other}")
        return _of_columns(table, _chosen(table, columns, 1 if known else 2))
    position = table.usual(LABEL) if label is None else table.column(label)
    columns_of_known = [table.header.index(name) for name in known if name in table.header]
    if position is None and columns_of_known:
        return _of_columns(table, columns_of_known)
    if position is None:
        raise UserError(
            f"{table.path} has the columns {', '.join(table.header)}: name the one of the labels "
            "with --label-column, or those of several labels with --label-columns A,B,C"
        )
    cells = [row[position] for _, row in table.rows]
    name = table.header[position]
    if any(cell is None for cell in cells):
        raise UserError(f"{table.path}: the column {name} holds no text: name another one")
    if any(isinstance(cell, tuple) for cell in cells):
        return _several(cells, f"lists in the column {name}")
    given = separator is not None
    separator = separator if separator is not None else guess(table, name, cells)
    if not separator:
        return _single(cells)
    sets = [tuple(filter(None, map(str.strip, cell.split(separator)))) for cell in cells]
    if given and not any(len(labels) > 1 for labels in sets):
        raise UserError(
            f"{table.path}: no cell of the column {name} contains the separator {separator!r}"
        )
    how = "" if given else "; give --label-separator '' if each cell is one label"
    text = f"the column {name}, separated by {NAMES.get(separator, repr(separator))}{how}"
    return _several(sets, text)


def guess(table: LabelTable, name: str, cells: Sequence[str]) -> str:
    """The separator of several labels, "" for one label in each cell.

    `|` and `;` separate labels wherever they occur. Spaces are in many names of classes; they
    separate labels only if cells have different numbers of words, and more distinct cells than
    words occur, as in "clear primary", "clear", "primary water".
    """
    used = [mark for mark in SURE_SEPARATORS if any(mark in cell for cell in cells)]
    if len(used) > 1:
        raise UserError(
            f"{table.path}: the column {name} has {' and '.join(map(repr, used))} in its cells: "
            "name what separates the labels with --label-separator"
        )
    if used:
        return used[0]
    distinct = {cell for cell in cells if cell}
    words = {word for cell in distinct for word in cell.split()}
    lengths = {len(cell.split()) for cell in distinct}
    return " " if len(lengths) > 1 and len(distinct) > len(words) else ""


def in_order(names: set[str]) -> list[str]:
    """In the order of the numbers if all names are numbers, else of the alphabet."""
    if all(name.lstrip("-").isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _single(cells: Sequence[str]) -> TableLabels:
    return TableLabels(
        tuple(in_order({cell for cell in cells if cell})), [cell or None for cell in cells]
    )


def _several(cells: Sequence[Sequence[str]], text: str) -> TableLabels:
    """An empty cell is an image without a label."""
    sets = [frozenset(filter(None, cell)) for cell in cells]
    classes = in_order({name for labels in sets for name in labels})
    return TableLabels(tuple(classes), list(sets), True, text)


def _chosen(table: LabelTable, columns: str, least: int) -> list[int]:
    """The positions of the columns of the classes."""
    chosen: dict[int, None] = {}
    for name in filter(None, map(str.strip, columns.split(","))):
        if name in table.header:
            chosen[table.header.index(name)] = None
            continue
        matches = [i for i, column in enumerate(table.header) if fnmatchcase(column, name)]
        if not matches and set(name).isdisjoint("*?["):
            raise unknown(f"column of {table.path.name}", name, table.header)
        if not matches:
            raise UserError(
                f"--label-columns {name} matches none of the columns {', '.join(table.header)}"
            )
        chosen.update(dict.fromkeys(matches))
    if len(chosen) < least:
        raise UserError("--label-columns needs two or more columns, such as --label-columns A,B,C")
    return list(chosen)


def _of_columns(table: LabelTable, positions: list[int]) -> TableLabels:
    classes = tuple(table.header[i] for i in positions)
    values = {str(row[i]).lower() for _, row in table.rows for i in positions}
    if values & NEGATIVE and values & ZERO:
        raise UserError(
            f"{table.path}: the columns of the labels have 0 and -1: replace -1 by 0 or 1"
        )
    rows: list[str | frozenset[str] | None] = []
    for number, row in table.rows:
        cells = [str(row[i]).lower() for i in positions]
        if not any(cells):
            rows.append(None)
            continue
        rows.append(frozenset(_true(table, number, classes, cells)))
    text = f"{len(classes)} columns of 0 and 1"
    if values & NEGATIVE:
        text = f"{len(classes)} columns of -1 and 1; -1 is taken as 0"
    return TableLabels(classes, rows, True, text, in_columns=True)


def _true(
    table: LabelTable, number: int, classes: Sequence[str], cells: Sequence[Any]
) -> list[str]:
    names = []
    for name, cell in zip(classes, cells, strict=True):
        if cell not in TRUTH:
            raise UserError(f"{table.where(number)}: the column {name} has {cell!r}: give 0 or 1")
        if TRUTH[cell]:
            names.append(name)
    return names
