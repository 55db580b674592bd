"""Limits on what a file may unpack to, checked before any memory is taken for it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from reslab.core.errors import UserError

# Compressed floats rarely take less than an eighth of their size; small files may be mostly zeros.
RATIO = 8
SPARE = 2**28


def check_unpacked(path: Path, declared: int, packed: int | None = None) -> None:
    """Raise UserError if a file declares far more bytes than it can have in good faith.

    `packed` is the number of bytes on disk; by default the size of the file at `path`.
    """
    packed = path.stat().st_size if packed is None else packed
    if declared > SPARE + RATIO * packed:
        raise UserError(
            f"{path} has {_size(packed)} and declares {_size(declared)} of content: it is damaged "
            "or hostile, and is not read"
        )


def check_archive(path: Path, file: zipfile.ZipFile) -> None:
    """Raise UserError if the members of a zip archive unpack to far more than its size."""
    check_unpacked(path, sum(member.file_size for member in file.infolist()))


def _size(number: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if unit != "bytes" else f"{number} bytes"
        number /= 1024  # type: ignore[assignment]
    return f"{number:,.4g} TiB"
