"""Keras callbacks see one training: in order, across epochs and across a resume."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import reslab
from reslab.core.files import read_arrays
from reslab.core.interrupts import Interrupted
from reslab.core.progress import Watch
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from tests.helpers import tiny

pytestmark = pytest.mark.core

RECIPE = Recipe("short", epochs=2.5, batch=64, rate=0.05, schedule="constant")  # 2 + 2 + 1 steps
LOGS = {"loss", "accuracy", "val_loss", "val_accuracy"}


class Recorder(keras.callbacks.Callback):
    """Notes every call, with its number and the names in its logs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int | None]] = []
        self.logs: list[tuple[str, dict[str, float]]] = []

    def note(self, hook: str, number: int | None, logs: Any) -> None:
        self.calls.append((hook, number))
        self.logs.append((hook, dict(logs or {})))

    def on_train_begin(self, logs: Any = None) -> None:
        assert self.model.optimizer is not None
        assert self.params["epochs"] == 3
        assert self.params["steps"] == 2
        self.note("train begins", None, logs)

    def on_train_end(self, logs: Any = None) -> None:
        self.note("train ends", None, logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.note("epoch begins", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.note("epoch ends", epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.note("batch begins", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.note("batch ends", batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        self.note("test begins", None, logs)

    def on_test_end(self, logs: Any = None) -> None:
        self.note("test ends", None, logs)


def batch(number: int) -> list[tuple[str, int | None]]:
    return [("batch begins", number), ("batch ends", number)]


def epoch(number: int, batches: list[int]) -> list[tuple[str, int | None]]:
    inside = [call for each in batches for call in batch(each)]
    tests: list[tuple[str, int | None]] = [("test begins", None), ("test ends", None)]
    return [("epoch begins", number), *inside, *tests, ("epoch ends", number)]


WHOLE = [
    ("train begins", None),
    *epoch(0, [0, 1]),
    *epoch(1, [0, 1]),
    *epoch(2, [0]),
    ("train ends", None),
]


@pytest.fixture(scope="module")
def plain(thirds: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The training without callbacks."""
    return reslab.train(tiny.NETWORK, thirds, RECIPE, out=tmp_path_factory.mktemp("runs") / "plain")


def weights(run: Run) -> dict[str, bytes]:
    arrays, _ = read_arrays(run.checkpoints / "last.safetensors")
    return {name: array.tobytes() for name, array in arrays.items()}


def test_one_training_with_the_bits_of_one_without_callbacks(
    plain: Run, thirds: Path, tmp_path: Path
) -> None:
    recorder = Recorder()
    run = reslab.train(tiny.NETWORK, thirds, RECIPE, out=tmp_path / "run", callbacks=[recorder])
    assert recorder.calls == WHOLE
    ends = [logs for hook, logs in recorder.logs if hook == "epoch ends"]
    for logs, line in zip(ends, run.log("epoch"), strict=True):
        assert logs.keys() == LOGS
        assert logs["loss"] == line["train_loss"]
        assert logs["accuracy"] == 1 - line["train_error"]
        assert (logs["val_loss"], logs["val_accuracy"]) == (line["val_loss"], 1 - line["val_error"])
    batches = [logs for hook, logs in recorder.logs if hook == "batch ends"]
    assert all({"loss", "accuracy"} <= logs.keys() for logs in batches)
    assert batches[1]["loss"] == pytest.approx(ends[0]["loss"])
    assert weights(run) == weights(plain)
    assert "stopped_early" not in run.info


@pytest.mark.parametrize("step", [1, 2, 3])
def test_after_a_resume_batches_and_epochs_continue(
    plain: Run, thirds: Path, tmp_path: Path, step: int
) -> None:
    """Interrupted after the first step of an epoch, or between two epochs."""

    def stop(done: float, text: str) -> None:
        if done == step:
            import signal

            signal.raise_signal(signal.SIGINT)

    first, second = Recorder(), Recorder()
    out = tmp_path / "run"
    with pytest.raises(Interrupted) as stopped:
        reslab.train(
            tiny.NETWORK, thirds, RECIPE, out=out, callbacks=[first], watch=Watch(step=stop)
        )
    assert stopped.value.path == out
    run = reslab.resume(out, callbacks=[second])
    assert second.calls[0] == ("train begins", None)
    assert second.calls[1] == ("epoch begins", {1: 0, 2: 0, 3: 1}[step])
    steps = [call for call in first.calls + second.calls if call[0].startswith("batch")]
    assert steps == [call for call in WHOLE if call[0].startswith("batch")]
    ends = [call for call in first.calls + second.calls if call[0] == "epoch ends"]
    assert ends == [("epoch ends", 0), ("epoch ends", 1), ("epoch ends", 2)]
    assert second.calls.count(("train ends", None)) == 1
    assert ("train ends", None) not in first.calls
    logs = [logs for hook, logs in second.logs if hook == "epoch ends"]
    assert logs[0]["loss"] == run.log("epoch")[{1: 0, 2: 0, 3: 1}[step]]["train_loss"]
    assert weights(run) == weights(plain)


class Raises(keras.callbacks.Callback):
    def __init__(self, hook: str) -> None:
        super().__init__()
        setattr(self, hook, self.fail)

    def fail(self, *_: Any) -> None:
        raise ZeroDivisionError("my own mistake")


@pytest.mark.parametrize("hook", ["on_train_begin", "on_train_batch_end", "on_epoch_end"])
def test_a_callback_that_raises_stops_the_run(
    plain: Run, thirds: Path, tmp_path: Path, hook: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(ZeroDivisionError, match="my own mistake"):
        reslab.train(tiny.NETWORK, thirds, RECIPE, out=out, callbacks=[Raises(hook)])
    info = Run.open(out).info
    assert info["status"] == "failed"
    assert info["why"] == f"Raises.{hook} raised ZeroDivisionError('my own mistake')"
    assert (out / "report.html").exists()
    run = reslab.resume(out)
    assert run.info["status"] == "done"
    assert weights(run) == weights(plain)


class Stops(keras.callbacks.Callback):
    def __init__(self, hook: str) -> None:
        super().__init__()
        setattr(self, hook, self.stop)

    def stop(self, *_: Any) -> None:
        self.model.stop_training = True


@pytest.mark.parametrize(
    ("hook", "steps"), [("on_train_begin", 1), ("on_train_batch_end", 1), ("on_epoch_end", 2)]
)
def test_a_callback_that_stops_ends_the_run_early(
    thirds: Path, tmp_path: Path, hook: str, steps: int
) -> None:
    out, recorder = tmp_path / "run", Recorder()
    run = reslab.train(tiny.NETWORK, thirds, RECIPE, out=out, callbacks=[Stops(hook), recorder])
    assert [line["step"] for line in run.log("epoch")] == [steps]
    info = json.loads((out / "run.json").read_text())
    assert (info["status"], info["stopped_early"], info["chosen_epoch"]) == ("done", 1, 1)
    assert run.evaluation is not None
    assert "a callback stopped the training early, after epoch 1" in (
        (out / "report.html").read_text(encoding="utf-8")
    )
    assert recorder.calls[-2:] == [("epoch ends", 0), ("train ends", None)]


def test_a_stopped_run_that_is_killed_is_not_trained_further(thirds: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(line: Any) -> None:
        raise Killed

    out = tmp_path / "run"
    with pytest.raises(Killed):
        reslab.train(
            tiny.NETWORK,
            thirds,
            RECIPE,
            out=out,
            callbacks=[Stops("on_epoch_end")],
            watch=Watch(epoch=kill),
        )
    run = reslab.resume(out)
    assert [line["epoch"] for line in run.log("epoch")] == [1]
    assert run.info["stopped_early"] == 1


def test_the_callbacks_of_keras_work(thirds: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "run", tmp_path / "log.csv"
    best = tmp_path / "best.keras"
    callbacks = [
        keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=1e9, patience=1),
        keras.callbacks.ModelCheckpoint(best, monitor="val_accuracy", save_best_only=True),
        keras.callbacks.CSVLogger(table),
    ]
    run = reslab.train(tiny.NETWORK, thirds, RECIPE, out=out, callbacks=callbacks)
    assert run.info["stopped_early"] == 2
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {*rows[0]} == {"epoch", *LOGS}
    model = keras.saving.load_model(best)
    assert model.predict_on_batch(np.zeros((2, 8, 8, 1), "float32")).shape == (2, 3)


def test_auxiliary_heads_log_the_classifier_alone(thirds: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from reslab.spec import Dense, GlobalAvgPool

    recorder = Recorder()
    net = replace(tiny.NETWORK, aux={"conv1": ((GlobalAvgPool, Dense(3)), 0.3)})
    run = reslab.train(net, thirds, RECIPE, out=tmp_path / "run", callbacks=[recorder])
    batches = [logs for hook, logs in recorder.logs if hook == "batch ends"]
    assert batches[1]["loss"] == pytest.approx(run.log("epoch")[0]["train_loss"])
    assert "conv1_aux_loss" in batches[0]
