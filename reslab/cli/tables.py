"""Tables in a terminal, by Rich."""

from __future__ import annotations

import sys
from typing import Any

from reslab.core.text import printable


def make_table(
    *columns: str, numbers: int = 2, first_number: int = 1, keep_rows: bool = False
) -> Any:
    """Return an empty `rich.table.Table`.

    Args:
        columns: The headings.
        numbers: How many columns hold numbers. They are aligned to the right.
        first_number: The index of the first column of numbers.
        keep_rows: In a narrow terminal, cut the last column instead of wrapping it, so that every
            row stays on one line.
    """
    from rich import box
    from rich.table import Table

    class PrintableTable(Table):
        def add_row(self, *cells: Any, **options: Any) -> None:
            texts = (printable(cell) if isinstance(cell, str) else cell for cell in cells)
            super().add_row(*texts, **options)

    table = PrintableTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, column in enumerate(columns):
        is_number = first_number <= i < first_number + numbers
        table.add_column(
            column,
            justify="right" if is_number else "left",
            no_wrap=keep_rows or is_number or i == 0,
        )
    if keep_rows and sys.stdout is not None and sys.stdout.isatty():
        table.columns[-1].ratio, table.expand = 1, True
    return table


def print_table(table: Any) -> None:
    """Print the table and an empty line."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:  # a pipe has no width to wrap to
        console.width = 160
    console.print(table)
    console.print()


def integer(number: int | None) -> str:
    """`11,689,512`, or `?` for a number that is not known."""
    return "?" if number is None else f"{number:,}"


def millions(number: int) -> str:
    """`11.69 M`, or `1,814 M` from a hundred million on."""
    return f"{number / 1e6:,.2f} M" if number < 1e8 else f"{number / 1e6:,.0f} M"
