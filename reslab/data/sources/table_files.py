"""The cells of a table as text: CSV with a header, and Parquet."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError, one_line, unknown
from reslab.core.paths import regular

TEXT = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
SUFFIX = TEXT + PARQUET
MOST_BYTES = 128 * 2**20  # of a table as text
MOST_ROWS = 2_000_000
MOST_UNPACKED = 2 * MOST_BYTES  # of a Parquet file
INSTALL = 'pip install "reslab[parquet]"'


@dataclass(frozen=True)
class LabelTable:
    """The rows of a file, each with the number of its line (of its row in Parquet).

    Cells are text without spaces around it. A column of lists, which only Parquet has, holds tuples
    of text.
    """

    path: Path
    header: list[str]
    rows: list[tuple[int, list[Any]]]
    unit: str = "line"

    def column(self, name: str) -> int:
        """The position of a column; raises UserError if there is none of this name."""
        if name not in self.header:
            raise unknown(f"column of {self.path.name}", name, self.header)
        return self.header.index(name)

    def usual(self, names: Sequence[str]) -> int | None:
        """The position of the column that has the first of these names, in any case."""
        lower = [cell.lower() for cell in self.header]
        return next((lower.index(name) for name in names if name in lower), None)

    def where(self, number: int) -> str:
        return f"{self.path}, {self.unit} {number}"


def read(path: Path) -> LabelTable:
    """Read a table.

    Raises:
        UserError: the file is not a table, two columns have one name, or pyarrow is missing.
    """
    table = _parquet(path) if path.suffix.lower() in PARQUET else _text(path)
    repeated = {name for name, times in Counter(table.header).items() if times > 1 and name}
    if repeated:
        raise UserError(f"{path} has two columns named {min(repeated)!r}: rename one of them")
    return table


def _check_size(path: Path) -> None:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise UserError(f"{path} has {size:,} bytes; {MOST_BYTES:,} are the most of a table")


def _encoding(path: Path) -> str:
    """UTF-8, marked or not, or UTF-16, which spreadsheets call Unicode text."""
    with regular(path).open("rb") as file:
        marked = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "utf-16" if marked else "utf-8-sig"


def _text(path: Path) -> LabelTable:
    try:
        with regular(path).open(encoding=_encoding(path), newline="") as file:
            _check_size(path)
            delimiter = max(",;\t|", key=file.readline().count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            lines = [(reader.line_num, line) for line in islice(reader, MOST_ROWS + 2)]
        if len(lines) > MOST_ROWS + 1:
            raise UserError(f"{path} has more than {MOST_ROWS:,} rows, which are the most")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a table in UTF-8: {error}; save it in UTF-8") from None
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
    return LabelTable(path, header, rows)


def _parquet(path: Path) -> LabelTable:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(f"Parquet files are read with pyarrow: {INSTALL}") from None
    try:
        table = _within_limits(path, parquet.ParquetFile(regular(path)))
        header = [str(name) for name in table.column_names]
        columns = [_cells(table.column(i)) for i in range(len(header))]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (ArrowException, ValueError, OverflowError) as error:  # also texts that are not UTF-8
        text = f"{path} is not a Parquet file, or is damaged: {one_line(error)}"
        raise UserError(text) from None
    rows = [(i, list(cells)) for i, cells in enumerate(zip(*columns, strict=True), 1)]
    return LabelTable(path, header, rows, "row")


def _within_limits(path: Path, file: Any) -> Any:
    """The rows of a Parquet file. A dictionary of long texts unpacks to far more than the file."""
    import pyarrow as pa

    batches, size = [], 0
    if file.metadata.num_rows <= MOST_ROWS:
        for batch in file.iter_batches(batch_size=256):
            size += batch.nbytes
            if size > MOST_UNPACKED:
                break
            batches.append(batch)
        else:
            return pa.Table.from_batches(batches, file.schema_arrow)
    raise UserError(
        f"{path} has more than {MOST_ROWS:,} rows, or unpacks to more than {MOST_UNPACKED:,} bytes,"
        " which are the most: leave out columns that are not needed"
    )


def _cells(column: Any) -> list[Any]:
    """The cells of a column as text; those of other types, such as pictures, as None."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [tuple(map(_plain, cell or ())) for cell in column.to_pylist()]
    if pa.types.is_temporal(kind):
        column = column.cast(pa.string())  # Python has no dates of other years than 1 to 9999
    nested = pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return [None if nested else _plain(cell) for cell in column.to_pylist()]


def _plain(cell: Any) -> str:
    """Text of a cell; a whole number that pandas stored as a float has no decimals."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
