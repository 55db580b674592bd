"""Measured points, one line of JSON each, written at once: a kill loses only the current point."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reslab.core import records
from reslab.core.errors import UserError
from reslab.core.files import writing
from reslab.core.paths import regular
from reslab.studies.folder import RESUME_HINT

Key = tuple[int, ...]


class Points:
    """Named numbers by keys such as (run, seed, i, j). Numbers may be infinite.

    Raises UserError if a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[Key, dict[str, float]] = {}
        self.bytes = 0  # of complete lines
        text = _content(path)
        for number, line in enumerate(text.splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break  # cut off by a kill
            try:
                key, point = records.parse(line)
                self.values[tuple(key)] = {k: _decoded(v) for k, v in point.items()}
            except (ValueError, TypeError, AttributeError):
                raise UserError(
                    f"line {number} of {path} is damaged: delete it to measure its point again"
                ) from None
            self.bytes += len(line)

    def add(self, key: Key, **measured: float) -> None:
        line = json.dumps([key, {k: _encoded(v) for k, v in measured.items()}]) + "\n"
        with writing(self.path, RESUME_HINT):
            if self.path.exists() and self.path.stat().st_size > self.bytes:
                os.truncate(self.path, self.bytes)
            with self.path.open("ab") as file:
                file.write(line.encode())
        self.bytes += len(line)
        self.values[key] = dict(measured)

    def missing(self, keys: Sequence[Key]) -> list[Key]:
        return [key for key in keys if key not in self.values]


def _content(path: Path) -> bytes:
    """The bytes of the file; none if there is no file."""
    try:
        if (size := regular(path).stat().st_size) > records.MOST_FILE:
            raise UserError(f"{path} has {size:,} bytes; {records.MOST_FILE:,} are the most")
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def _encoded(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _decoded(value: Any) -> float:
    return math.inf if value is None else float(value)


def outwards(grid: int, dim: int) -> Iterator[Key]:
    """The indices of a grid, (i,) or (i, j), from the centre outwards."""
    centre = (grid - 1) / 2
    points: list[Key] = [(i,) for i in range(grid)]
    if dim == 2:
        points = [(i, j) for i in range(grid) for j in range(grid)]
    return iter(sorted(points, key=lambda point: (sum((k - centre) ** 2 for k in point), point)))
