"""Tables in a terminal."""

from __future__ import annotations

import sys
from typing import Any


def _table(*columns: str, numbers: int = 2, first: int = 1, whole: bool = False) -> Any:
    """A table whose `numbers` columns from the one numbered `first` stand right.

    Where a terminal is narrower, the last column wraps, or is cut to keep `whole` lines.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, column in enumerate(columns):
        right = first <= i < first + numbers
        table.add_column(
            column, justify="right" if right else "left", no_wrap=whole or right or i == 0
        )
    if whole and sys.stdout.isatty():
        table.columns[-1].ratio, table.expand = 1, True
    return table


def _print(table: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:  # a pipe has no width to wrap to
        console.width = 160
    console.print(table)
    console.print()


def _n(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _millions(number: int) -> str:
    return f"{number / 1e6:,.2f} M" if number < 1e8 else f"{number / 1e6:,.0f} M"
