"""Locks on folders, so that two processes do not mix their results in one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reslab.core.errors import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_FILE = ".lock"
_LOCKS: dict[tuple[int, int], BaseFileLock] = {}  # the folders that this process has locked


def lock(folder: Path) -> bool:
    """Lock a folder until the process ends or calls `unlock`; False if another process has it.

    Locking twice in one process is no error. On a file system without locks, and in a folder that
    cannot be written, nothing is locked and the result is True.
    """
    from filelock import FileLock, Timeout

    key = _identity(folder)
    if key in _LOCKS:
        return True
    file_lock = FileLock(folder / LOCK_FILE, timeout=0, thread_local=False)
    try:
        file_lock.acquire()
    except Timeout:
        return False
    except (OSError, NotImplementedError):
        return True
    _LOCKS[key] = file_lock
    return True


@contextmanager
def only_writer(folder: Path, then: str) -> Iterator[None]:
    """Lock a folder for a block, also against another use in this process.

    Raises UserError, which ends with what to do `then`, if the folder is locked already.
    """
    if folder.exists() and _identity(folder) in _LOCKS:
        raise UserError(f"this process is writing to {folder} already: {then}")
    if not lock(folder):
        raise UserError(f"another process is writing to {folder}: {then}")
    try:
        yield
    finally:
        unlock(folder)


def unlock(folder: Path) -> None:
    """Release the lock of this process, if it has one. The lock file stays."""
    try:
        key = _identity(folder)
    except FileNotFoundError:  # removed meanwhile: the lock is that of a file that is gone
        return
    file_lock = _LOCKS.pop(key, None)
    if file_lock is not None:
        file_lock.release()


def is_empty(folder: Path) -> bool:
    """Whether a folder has nothing in it except a lock file."""
    return all(path.name == LOCK_FILE for path in folder.iterdir())


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
