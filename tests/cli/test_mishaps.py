"""What goes wrong in a training, or with the folder of a run: nothing that was there is lost."""

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
from tests.helpers.cli import ask, refused, snapshot, told

pytestmark = [
    pytest.mark.usefixtures("apart"),
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="what is said does not depend on the backend"
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
    """A copy of a trained run that was cut off before it was judged."""
    shutil.copytree(trained.path, "cut")
    change("cut", status="running", finished=None)
    return Path("cut")


def change(path: str | Path, **entries: Any) -> None:
    file = Path(path) / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def weights(path: str | Path) -> dict[str, bytes]:
    arrays, _ = read_arrays(Path(path) / "checkpoints" / "last.safetensors")
    return {name: array.tobytes() for name, array in arrays.items()}


# A full disk -----------------------------------------------------------------------------------


@contextmanager
def full_after(good: int) -> Iterator[list[dict[str, bytes]]]:
    """A disk on which so many checkpoints find room; of what follows, half. Yields the former."""
    save, kept = safetensors.numpy.save_file, list[dict[str, bytes]]()

    def fill(arrays: Any, path: Path, metadata: Any) -> None:
        save(arrays, path, metadata=metadata)
        if len(kept) == good:
            os.truncate(path, path.stat().st_size // 2)
            raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")
        if path.name.endswith("last.safetensors"):
            kept.append({name: array.tobytes() for name, array in arrays.items()})

    with mock.patch.object(safetensors.numpy, "save_file", fill):
        yield kept


def test_a_disk_that_fills_up_at_a_checkpoint_costs_only_the_way_since_the_last(
    train: tuple[object, ...],
) -> None:
    told(*train)
    shutil.move("run", "whole")
    with full_after(2) as kept:  # beginning, first epoch
        answer = ask(*train)
    assert answer.code == 2
    assert len(kept) == 2
    assert "the disk is full" in answer.err.splitlines()[-1]
    assert "`reslab train --resume` goes on" in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    assert weights("run") == kept[-1]
    assert not [name for name in snapshot(Path("run")) if Path(name).name.startswith(".")]
    told("train", "--resume", "run")
    assert weights("run") == weights("whole")


def test_a_disk_that_is_full_at_the_beginning_leaves_no_folder(train: tuple[object, ...]) -> None:
    with full_after(0):
        assert "the disk is full" in refused(*train)


def test_not_even_room_for_a_description(
    train: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise FULL

    monkeypatch.setattr(os, "fsync", fsync)
    assert "run.json: the disk is full" in refused(*train)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB, where this machine lets us have one."""
    at = tmp_path / "disk"
    at.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(at)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    yield at
    subprocess.run(["umount", "-l", str(at)], check=True)


def test_a_real_disk_that_is_full(train: tuple[object, ...], disk: Path) -> None:
    words = ["resnet20" if word == "tiny" else word for word in train]  # 2 MB a checkpoint
    answer = ask(*(disk / "run" if word == "run" else word for word in words))
    assert answer.code == 2
    assert "the disk is full" in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    hidden = [name for name in snapshot(disk) if Path(name).name.startswith(".")]
    assert hidden == []
    for file in (disk / "run" / "checkpoints").glob("*.safetensors"):
        assert all(np.isfinite(array).all() for array in read_arrays(file)[0].values())


# No number -------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number(train: tuple[object, ...]) -> None:
    wild = *train, "--set", "rate=1e30", "--set", "schedule=constant"
    answer = ask(*wild)
    assert answer.code == 2
    last = answer.err.splitlines()[-1]
    assert last.startswith("reslab: ")
    assert "step 2" in last
    assert "lower learning rate" in last
    run = Run.open("run")
    assert (run.info["status"], run.info["finished"]) == ("failed", None)
    assert run.info["why"] in last
    assert "failed" in (run.path / "report.html").read_text(encoding="utf-8")
    kept, _ = read_arrays(run.checkpoints / "last.safetensors")
    assert all(np.isfinite(array).all() for array in kept.values())
    assert not run.model_path.exists()
    assert "has no model yet" in refused("predict", "run", "run")
    assert "has no model yet" in refused("evaluate", "run")
    assert ask("train", "--resume", "run").code == 2
    told("report", "run")


# Folders of runs -------------------------------------------------------------------------------


def test_a_folder_that_exists_is_left_alone(train: tuple[object, ...]) -> None:
    Path("run").mkdir()
    Path("run", "precious.txt").write_text("mine")
    said = refused(*train)
    assert "run exists already: choose another --out" in said
    assert "reslab train --resume run" in said


def test_a_finished_run_says_that_it_is(trained: Run) -> None:
    before = snapshot(trained.path)
    assert "is finished already" in told("train", "--resume", trained.path)
    assert snapshot(trained.path) == before


def test_a_run_that_was_cut_off_before_it_was_judged(unfinished: Path) -> None:
    (unfinished / "evaluation.json").unlink()
    (unfinished / "model.keras").unlink()
    assert "test error" in told("train", "--resume", unfinished)
    assert Run.open(unfinished).info["status"] == "done"


def test_data_that_have_changed(unfinished: Path, tmp_path: Path) -> None:
    moved = tiny.folder(tmp_path / "moved", train=96)
    data = Run.open(unfinished).info["data"]
    change(unfinished, data=data | {"provenance": data["provenance"] | {"source": str(moved)}})
    assert "have changed since it was started" in refused("train", "--resume", unfinished)
    shutil.rmtree(moved)
    assert f"there is no folder {moved}" in refused("train", "--resume", unfinished)


def test_another_backend(unfinished: Path) -> None:
    change(unfinished, backend="jax")
    said = refused("train", "--resume", unfinished, "--backend", "torch")
    assert "add --backend jax" in said
    change(unfinished, backend="teapot")
    assert "no backend 'teapot'" in refused("train", "--resume", unfinished)


def test_weights_of_another_network(unfinished: Path, train: tuple[object, ...]) -> None:
    told(*("resnet20" if word == "tiny" else word for word in train), "--epochs", 0.1)
    last = Path("checkpoints", "last.safetensors")
    shutil.copy("run" / last, unfinished / last)
    assert "belongs to another network" in refused("train", "--resume", unfinished)
    (unfinished / last).write_bytes(b"noise" * 100)
    assert "is not a checkpoint of reslab" in refused("train", "--resume", unfinished)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[]", "was not written by this version"),
        ('{"format": 99}', "was not written by this version"),
        ('{"format": 1, "name": "a"}', "is damaged: it has no 'network'"),
        ("\x00\x80", "is damaged"),
    ],
)
def test_a_damaged_description(text: str, says: str, unfinished: Path) -> None:
    (unfinished / "run.json").write_bytes(text.encode("latin-1"))
    for words in (("train", "--resume"), ("evaluate",), ("report",)):
        said = refused(*words, unfinished)
        assert says in said
        assert "run.json" in said


def test_a_damaged_network(unfinished: Path) -> None:
    change(unfinished, network={"rows": {"a": {"type": "os.system"}}})
    said = refused("train", "--resume", unfinished)
    assert "no part 'os.system'" in said


def test_stopped_from_outside_and_gone_on_with(train: tuple[object, ...], tmp_path: Path) -> None:
    """In a process of its own: Ctrl-C is one line that says how to go on, and 130."""
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
    assert "resumed after step 2" in ask("train", "--resume", "run").err
