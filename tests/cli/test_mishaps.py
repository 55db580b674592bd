"""Failures during a training, or damaged run folders: no file that existed before is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import reslab
from reslab.core.files import read_arrays
from reslab.runs.run import Run
from tests.helpers import tiny
from tests.helpers.cli import error_of, invoke, output_of, snapshot

pytestmark = [
    pytest.mark.usefixtures("apart"),
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="the messages do not depend on the backend"
    ),
]

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def train(thirds: Path) -> tuple[object, ...]:
    return (
        *("train", "tiny", "--data", thirds, "--out", "run", "--batch", 64, "--epochs", 2),
        *("--set", "rate=0.05"),
    )


@pytest.fixture
def unfinished(trained: Run) -> Path:
    """Return a copy of a trained run that stopped before its evaluation."""
    shutil.copytree(trained.path, "cut")
    change("cut", status="running", finished=None)
    return Path("cut")


def change(path: str | Path, **entries: Any) -> None:
    """Change entries of a run.json."""
    file = Path(path) / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def weights(path: str | Path) -> dict[str, bytes]:
    """Return the bytes of every array in the last checkpoint of a run."""
    arrays, _ = read_arrays(Path(path) / "checkpoints" / "last.safetensors")
    return {name: array.tobytes() for name, array in arrays.items()}


# A full disk -----------------------------------------------------------------------------------


@contextmanager
def full_after(good: int) -> Iterator[list[dict[str, bytes]]]:
    """Simulate a disk with space for `good` checkpoints and half of the next one.

    Yields the list of the weights of all complete checkpoints.
    """
    save, checkpoints = safetensors.numpy.save_file, list[dict[str, bytes]]()

    def fill(arrays: Any, path: Path, metadata: Any) -> None:
        save(arrays, path, metadata=metadata)
        if len(checkpoints) == good:
            os.truncate(path, path.stat().st_size // 2)
            raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")
        if path.name.endswith("last.safetensors"):
            checkpoints.append({name: array.tobytes() for name, array in arrays.items()})

    with mock.patch.object(safetensors.numpy, "save_file", fill):
        yield checkpoints


def test_a_full_disk_at_a_checkpoint_loses_only_the_steps_since_the_last_one(
    train: tuple[object, ...],
) -> None:
    output_of(*train)
    shutil.move("run", "whole")
    with full_after(2) as checkpoints:  # beginning, first epoch
        answer = invoke(*train)
    assert answer.code == 2
    assert len(checkpoints) == 2
    assert "the disk is full" in answer.err.splitlines()[-1]
    assert "`reslab train --resume RUN` goes on" in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    assert weights("run") == checkpoints[-1]
    assert not [name for name in snapshot(Path("run")) if Path(name).name.startswith(".")]
    output_of("train", "--resume", "run")
    assert weights("run") == weights("whole")


def test_a_disk_that_is_full_at_the_start_leaves_no_folder(train: tuple[object, ...]) -> None:
    with full_after(0):
        assert "the disk is full" in error_of(*train)


def test_a_disk_without_space_for_run_json(
    train: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise FULL

    monkeypatch.setattr(os, "fsync", fsync)
    assert "run.json: the disk is full" in error_of(*train)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 3 MB. Skip the test where that is not allowed."""
    at = tmp_path / "disk"
    at.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(at)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no permission to mount a file system")
    yield at
    subprocess.run(["umount", "-l", str(at)], check=True)


def test_a_real_disk_that_is_full(train: tuple[object, ...], disk: Path) -> None:
    words = ["resnet20" if word == "tiny" else word for word in train]  # 2 MB a checkpoint
    answer = invoke(*(disk / "run" if word == "run" else word for word in words))
    assert answer.code == 2
    assert "the disk is full" in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    hidden = [name for name in snapshot(disk) if Path(name).name.startswith(".")]
    assert hidden == []
    for file in (disk / "run" / "checkpoints").glob("*.safetensors"):
        assert all(np.isfinite(array).all() for array in read_arrays(file)[0].values())


# Loss is NaN or infinite -----------------------------------------------------------------------


def test_a_loss_that_is_not_finite(train: tuple[object, ...]) -> None:
    diverging = *train, "--set", "rate=1e30", "--set", "schedule=constant"
    answer = invoke(*diverging)
    assert answer.code == 2
    last_line = answer.err.splitlines()[-1]
    assert last_line.startswith("reslab: ")
    assert "step 2" in last_line
    assert "lower learning rate" in last_line
    run = Run.open("run")
    assert (run.info["status"], run.info["finished"]) == ("failed", None)
    assert run.info["why"] in last_line
    assert "failed" in (run.path / "report.html").read_text(encoding="utf-8")
    arrays, _ = read_arrays(run.checkpoints / "last.safetensors")
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert not run.model_path.exists()
    assert "has no model yet" in error_of("predict", "run", "run")
    assert "has no model yet" in error_of("evaluate", "run")
    assert invoke("train", "--resume", "run").code == 2
    output_of("report", "run")


# Folders of runs -------------------------------------------------------------------------------


def test_an_existing_folder_is_not_changed(train: tuple[object, ...]) -> None:
    Path("run").mkdir()
    Path("run", "precious.txt").write_text("mine")
    message = error_of(*train)
    assert "run exists already: choose another --out" in message
    assert "reslab train --resume run" in message


def test_resuming_a_finished_run_does_nothing(trained: Run) -> None:
    before = snapshot(trained.path)
    assert "is finished already" in output_of("train", "--resume", trained.path)
    assert snapshot(trained.path) == before


def test_resuming_a_run_that_stopped_before_its_evaluation(unfinished: Path) -> None:
    (unfinished / "evaluation.json").unlink()
    (unfinished / "model.keras").unlink()
    assert "test error" in output_of("train", "--resume", unfinished)
    assert Run.open(unfinished).info["status"] == "done"


def test_resuming_with_changed_data_is_refused(unfinished: Path, tmp_path: Path) -> None:
    moved = tiny.folder(tmp_path / "moved", train=96)
    data = Run.open(unfinished).info["data"]
    change(unfinished, data=data | {"provenance": data["provenance"] | {"source": str(moved)}})
    assert "have changed since it was started" in error_of("train", "--resume", unfinished)
    shutil.rmtree(moved)
    message = error_of("train", "--resume", unfinished)
    assert f"are not at {moved} any more" in message
    assert f"reslab train --resume {unfinished} --data NEW" in message


def test_resuming_on_another_backend_is_refused(unfinished: Path) -> None:
    change(unfinished, backend="jax")
    message = error_of("train", "--resume", unfinished, "--backend", "torch")
    assert "add --backend jax" in message
    change(unfinished, backend="teapot")
    assert "no backend 'teapot'" in error_of("train", "--resume", unfinished)


def test_checkpoints_of_another_network_are_refused(
    unfinished: Path, train: tuple[object, ...]
) -> None:
    output_of(*("resnet20" if word == "tiny" else word for word in train), "--epochs", 0.1)
    last = Path("checkpoints", "last.safetensors")
    shutil.copy("run" / last, unfinished / last)
    assert "belongs to another network" in error_of("train", "--resume", unfinished)
    (unfinished / last).write_bytes(b"noise" * 100)
    assert "is not a checkpoint of reslab" in error_of("train", "--resume", unfinished)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[]", "was not written by this version"),
        ('{"format": 99}', "was not written by this version"),
        ('{"format": 1, "name": "a"}', "is damaged: it has no '"),
        ("\x00\x80", "is damaged"),
    ],
)
def test_a_damaged_run_json(text: str, expected: str, unfinished: Path) -> None:
    (unfinished / "run.json").write_bytes(text.encode("latin-1"))
    for words in (("train", "--resume"), ("evaluate",), ("report",)):
        message = error_of(*words, unfinished)
        assert expected in message
        assert "run.json" in message


def test_an_unknown_part_in_run_json(unfinished: Path) -> None:
    change(unfinished, network={"rows": {"a": {"type": "os.system"}}})
    message = error_of("train", "--resume", unfinished)
    assert "no part 'os.system'" in message


def test_ctrl_c_saves_and_the_run_can_be_resumed(train: tuple[object, ...], tmp_path: Path) -> None:
    """In a separate process: Ctrl-C prints one line that says how to resume, with exit code 130."""
    script = (
        "import signal\n"
        "from reslab import zoo\n"
        "from reslab.cli.main import main\n"
        "from reslab.cli.train import TrainingBar\n"
        "from tests.helpers import tiny\n"
        "zoo.NETWORKS['tiny'] = tiny.NETWORK\n"
        "shown = TrainingBar.step\n"
        "def step(self, done, text):\n"
        "    shown(self, done, text)\n"
        "    if done == 2: signal.raise_signal(signal.SIGINT)\n"
        "TrainingBar.step = step\n"
        f"main({[str(word) for word in train]})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(reslab.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "stopped and saved; resume with: reslab train --resume run"
    )
    assert "Traceback" not in done.stderr
    assert "resumed after step 2" in invoke("train", "--resume", "run").err
