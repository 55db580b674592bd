"""One process writes a run at a time; what killed processes leave is repaired or removed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reslab
from reslab.core.errors import UserError
from reslab.core.files import write_arrays, write_json
from reslab.runs.run import Run

LOCK = (
    "import sys, time, pathlib; from reslab.core import locks\n"
    "assert locks.lock(pathlib.Path(sys.argv[1])); print('locked', flush=True); time.sleep(600)"
)


@contextmanager
def locked_by_another_process(folder: Path) -> Iterator[subprocess.Popen]:
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, str(folder)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        try:
            yield process
        finally:
            process.kill()


def copy_of(run: Run, to: Path, status: str = "running") -> Run:
    import shutil

    shutil.copytree(run.path, to)
    copied = Run.open(to)
    copied.save(status=status)
    return copied


def test_a_second_process_is_refused_until_the_first_ends(trained: Run, tmp_path: Path) -> None:
    run = copy_of(trained, tmp_path / "run")
    before = {path.name for path in run.path.rglob("*")}
    with locked_by_another_process(run.path) as process:
        for second in (reslab.resume, reslab.evaluate):
            with pytest.raises(UserError, match=r"another process is writing to .*: wait for it"):
                second(run.path)
        assert {path.name for path in run.path.rglob("*")} == before | {".lock"}
        process.kill()  # a lock ends with its process
        process.wait()
        assert reslab.resume(run.path).info["status"] == "done"
    with run.only_writer(), pytest.raises(UserError, match="this process is writing"):
        reslab.evaluate(run.path)
    assert reslab.evaluate(run.path)["readings"] > 1


def test_unfinished_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {"name": "run"})
    left = [run.path / ".17-run.json", run.checkpoints / ".17-last.safetensors"]
    left.append(run.checkpoints / ".tmpA1b2C3")
    kept = [run.path / ".hidden", run.checkpoints / "best.safetensors"]
    for path in [*left, *kept]:
        path.write_bytes(b"half")
    with run.only_writer():
        pass
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_all_files_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_arrays(tmp_path / "a.safetensors", {"a": np.zeros(2)}, {})
        write_json(tmp_path / "a.json", {})
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~umask}


NUMBER = st.integers(0, 6)


@given(lines=NUMBER, cut=st.integers(0, 400), at=NUMBER, gone=NUMBER)
def test_a_log_is_read_after_any_crash(
    tmp_path_factory: pytest.TempPathFactory, lines: int, cut: int, at: int, gone: int
) -> None:
    """Whatever a crash or a person removed: no line is half, new, or later than the checkpoint."""
    run = Run.create(tmp_path_factory.mktemp("log") / "run", {"name": "run"})
    size = 0
    for epoch in range(1, lines + 1):
        run.append(kind="epoch", epoch=epoch, step=10 * epoch)
        size = run.log_bytes if epoch <= at else size
    file = run.path / "log.jsonl"
    if file.exists():
        rows = file.read_bytes().splitlines(keepends=True)
        del rows[gone : gone + 1]  # a damaged line, removed as the message says
        file.write_bytes(b"".join(rows)[: cut if cut < 300 else None])
    run.cut_log(size, 10 * at)
    epochs = [line["epoch"] for line in run.log()]
    assert epochs == sorted(set(epochs))
    assert all(epoch <= at and epoch != gone + 1 for epoch in epochs)
    run.append(kind="note", text="next")
    assert run.log("note")[-1]["text"] == "next"


def test_a_damaged_line_is_removed_as_the_message_says(trained: Run, tmp_path: Path) -> None:
    run = copy_of(trained, tmp_path / "run")
    file = run.path / "log.jsonl"
    rows = file.read_bytes().splitlines(keepends=True)
    number = next(i for i, row in enumerate(rows) if b'"kind": "epoch"' in row)
    file.write_bytes(b"".join([*rows[:number], b'{"kind": "epo\n', *rows[number + 1 :]]))
    with pytest.raises(UserError, match=rf"line {number + 1} of .* remove it to continue"):
        reslab.resume(run.path)
    file.write_bytes(b"".join([*rows[:number], *rows[number + 1 :]]))
    assert reslab.resume(run.path).info["status"] == "done"
