"""Locks on folders, between processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from reslab.core import locks

SCRIPT = """
import sys
from pathlib import Path
from reslab.core import locks
print(locks.lock(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def other(folder: Path) -> subprocess.Popen[str]:
    """Another process, which tries to lock the folder and then waits for its standard input."""
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_another_process_has_the_folder_until_it_is_killed(tmp_path: Path) -> None:
    with other(tmp_path) as process:
        assert answer(process) == "True"
        assert locks.lock(tmp_path) is False
        process.kill()
        process.wait(60)
    assert locks.lock(tmp_path) is True
    locks.unlock(tmp_path)


def test_a_process_may_lock_twice_and_unlocks_once(tmp_path: Path) -> None:
    assert locks.lock(tmp_path)
    assert locks.lock(tmp_path)
    assert locks.is_empty(tmp_path)
    locks.unlock(tmp_path)
    locks.unlock(tmp_path)
    with other(tmp_path) as process:
        assert answer(process) == "True"
        process.kill()


def test_without_locks_nothing_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(filelock.FileLock, "acquire", fail)
    assert locks.lock(tmp_path)
    locks.unlock(tmp_path)
