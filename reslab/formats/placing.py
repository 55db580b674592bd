"""Temporary folders beside an exported file, from which it is moved to its place."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reslab.core import locks
from reslab.core.errors import UserError

_PREFIX = ".export-"


def record_of(path: Path) -> Path:
    """Where the record of an exported file or folder is."""
    return path.with_name(f"{path.name}.json")


def check(path: Path, folder: bool) -> None:
    """Raise UserError if something is in the way that `reslab export` did not write."""
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}")
    if not path.exists():
        return
    if path.is_dir() != folder:
        raise UserError(f"{path} is a {'file' if folder else 'folder'}: give another --out")
    if folder and not locks.is_empty(path) and not record_of(path).exists():
        raise UserError(f"{path} has files that reslab did not export: give another --out")


@contextmanager
def workspace(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, removed at the end. Those of killed processes are removed too."""
    for old in path.parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if locks.lock(old):
                _remove(old)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=path.parent))
    locks.lock(folder)
    try:
        yield folder
    finally:
        _remove(folder)


def move(new: Path, path: Path) -> None:
    """Move a file with those that belong to it (`STEM.*`), or a folder, to its place."""
    if new.is_dir():
        if path.exists():
            os.replace(path, new.with_name("replaced"))
        os.replace(new, path)
        return
    for part in parts(new):
        os.replace(part, path.with_name(part.name))


def parts(path: Path) -> list[Path]:
    """The files of an exported file or folder; the one that names the others comes last."""
    if path.is_dir():
        return [part for part in sorted(path.rglob("*")) if part.is_file()]
    files = path.parent.glob(f"{glob.escape(path.stem)}.*")
    return sorted(files, key=lambda part: part.suffix != ".bin")


def _remove(folder: Path) -> None:
    locks.unlock(folder)
    shutil.rmtree(folder, ignore_errors=True)
