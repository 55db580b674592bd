"""Checkpoints that a background thread writes, and the log."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reslab.core import files
from reslab.core.errors import UserError
from reslab.core.interrupts import Interrupted
from reslab.runs.run import Run
from tests.helpers import threads

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """An event; no file is written before it is set."""
    event, write = threading.Event(), files.write

    def wait(*args: Any) -> None:
        assert event.wait(60)
        write(*args)

    monkeypatch.setattr(files, "write", wait)
    yield event
    event.set()


def _write_and_interrupt(paths: list[Path]) -> None:
    with files.behind() as write:
        for i, path in enumerate(paths):
            write(path, {"x": np.full(3, i)}, {})
        raise Interrupted


def raise_disk_full(*_: object, **__: object) -> None:
    raise FULL


def test_arrays_are_written_as_they_were_at_the_call(tmp_path: Path, gate: threading.Event) -> None:
    path, weights = tmp_path / "last.safetensors", np.arange(6.0).reshape(2, 3)
    with files.behind() as write:
        write(path, {"kernel": weights.T, "bias": weights}, {"step": 1})
        weights += 1  # the next training step, before any byte is written
        assert not path.exists()
        gate.set()
    arrays, meta = files.read_arrays(path)
    np.testing.assert_array_equal(arrays["bias"], np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(arrays["kernel"], arrays["bias"].T)
    assert meta == {"step": 1}
    assert threads.running_workers() == []


def test_files_are_complete_when_the_block_ends_in_any_way(
    tmp_path: Path, gate: threading.Event
) -> None:
    names = [tmp_path / name for name in ("best.safetensors", "last.safetensors")]
    threading.Timer(0.2, gate.set).start()
    with pytest.raises(Interrupted):
        _write_and_interrupt(names)
    for i, path in enumerate(names):
        np.testing.assert_array_equal(files.read_arrays(path)[0]["x"], [i] * 3)


def test_a_full_disk_is_reported_at_the_next_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.numpy

    with files.behind() as write:
        with monkeypatch.context() as patch:
            patch.setattr(safetensors.numpy, "save_file", raise_disk_full)
            write(tmp_path / "a.safetensors", {"x": np.zeros(1)}, {})
            with pytest.raises(UserError, match=r"a\.safetensors: the disk is full"):
                write(tmp_path / "b.safetensors", {"x": np.zeros(1)}, {})
        write(tmp_path / "c.safetensors", {"x": np.zeros(1)}, {})  # the disk has space again
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_an_interrupted_block_reports_that_nothing_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.numpy

    monkeypatch.setattr(safetensors.numpy, "save_file", raise_disk_full)
    with pytest.raises(UserError, match="the disk is full"):
        _write_and_interrupt([tmp_path / "a.safetensors"])


def test_the_log_is_cut_and_never_extended(tmp_path: Path) -> None:
    """A crash of the machine may leave a log that is shorter than the checkpoint says."""
    run = Run.create(tmp_path / "run", {"name": "run"})
    run.append(kind="note", text="first")
    size = run.log_bytes
    run.append(kind="note", text="second")
    run.cut_log(size)
    assert [line["text"] for line in run.log("note")] == ["first"]
    run.cut_log(size + 100)
    assert run.log_bytes == size
