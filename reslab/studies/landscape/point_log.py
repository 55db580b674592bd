"""Measured points, a line of JSON each, as they come: a kill costs the one under way."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError
from reslab.core.files import writing
from reslab.studies.folder import RESUME_HINT

Key = tuple[int, ...]


class Points:
    """By whole numbers, such as (run, seed, i, j); each with named numbers, which may be infinite.

    Raises UserError where a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[Key, dict[str, float]] = {}
        self.whole = 0  # bytes of whole lines
        text = path.read_bytes() if path.exists() else b""
        for number, line in enumerate(text.splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break  # torn off by a kill
            try:
                key, measured = json.loads(line)
                self.found[tuple(key)] = {k: _read(v) for k, v in measured.items()}
            except (ValueError, TypeError, AttributeError):
                raise UserError(
                    f"line {number} of {path} is damaged: remove it, and it is measured again"
                ) from None
            self.whole += len(line)

    def add(self, key: Key, **measured: float) -> None:
        line = json.dumps([key, {k: _written(v) for k, v in measured.items()}]) + "\n"
        with writing(self.path, RESUME_HINT):
            if self.path.exists() and self.path.stat().st_size > self.whole:
                os.truncate(self.path, self.whole)
            with self.path.open("ab") as file:
                file.write(line.encode())
        self.whole += len(line)
        self.found[key] = dict(measured)

    def missing(self, keys: Sequence[Key]) -> list[Key]:
        return [key for key in keys if key not in self.found]


def _written(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _read(value: Any) -> float:
    return math.inf if value is None else float(value)


def outwards(grid: int, dim: int) -> Iterator[Key]:
    """The places of a grid, (i,) or (i, j), from the middle outwards."""
    middle = (grid - 1) / 2
    places: list[Key] = [(i,) for i in range(grid)]
    if dim == 2:
        places = [(i, j) for i in range(grid) for j in range(grid)]
    return iter(sorted(places, key=lambda place: (sum((k - middle) ** 2 for k in place), place)))
