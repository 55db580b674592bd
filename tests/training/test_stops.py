"""Signals and kills before, between and after the steps."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import pytest

from reslab.core.files import read_arrays
from reslab.evaluation.tasks import classification
from reslab.models import saved
from reslab.report import page as report
from reslab.runs.run import Run
from reslab.training import prepare
from reslab.training import train as training
from tests.helpers import tiny
from tests.helpers.cli import error_of, invoke, output_of, snapshot

pytestmark = [
    pytest.mark.usefixtures("apart"),
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="where it stops does not depend on the backend"
    ),
]


@pytest.fixture
def train(thirds: Path) -> tuple[object, ...]:
    words = ("train", "tiny", "--data", thirds, "--out", "run", "--batch", 64, "--epochs", 2)
    return *words, "--set", "rate=0.05"


def weights(path: str) -> dict[str, bytes]:
    arrays, _ = read_arrays(Path(path) / "checkpoints" / "last.safetensors")
    return {name: array.tobytes() for name, array in arrays.items()}


class Killed(BaseException):
    """As sudden as a kill, within this process."""


def raising(error: type[BaseException]) -> Callable[..., Any]:
    def stop(*_: Any, **__: Any) -> None:
        raise error

    return stop


def signalled(kind: signal.Signals) -> Callable[..., Any]:
    def stop(*_: Any, **__: Any) -> None:
        signal.raise_signal(kind)

    return stop


LATE = [(saved, "save"), (classification, "classification_metrics"), (report, "write")]


@pytest.mark.parametrize(("place", "name"), LATE, ids=lambda part: getattr(part, "__name__", part))
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_step_says_how_to_resume(
    place: Any, name: str, kind: signal.Signals, train: tuple[object, ...]
) -> None:
    with mock.patch.object(place, name, signalled(kind)):
        answer = invoke(*train)
    assert answer.code == 130
    said = answer.err.splitlines()[-1]
    assert said == "stopped and saved; resume with: reslab train --resume run"
    output_of("train", "--resume", "run")
    complete("run")


def test_a_signal_during_the_last_validation_stops_the_run(train: tuple[object, ...]) -> None:
    score = classification.score

    def scored(*given: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return score(*given)

    with mock.patch.object(classification, "score", scored):
        answer = invoke(*train)
    assert answer.code == 130
    assert Run.open("run").info["status"] == "running"
    assert len(Run.open("run").log("epoch")) == 1
    output_of("train", "--resume", "run")
    complete("run")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("place", "name"), [(prepare, "load_data"), (training, "set_up")], ids=["data", "network"]
)
def test_a_signal_before_the_first_step_leaves_nothing(
    place: Any, name: str, kind: signal.Signals, train: tuple[object, ...]
) -> None:
    before = snapshot()
    with mock.patch.object(place, name, signalled(kind)):
        answer = invoke(*train)
    assert answer.code == 130
    assert answer.err.splitlines() == ["stopped before it began: nothing is left"]
    assert snapshot() == before


@pytest.mark.parametrize(("place", "name"), LATE, ids=lambda part: getattr(part, "__name__", part))
def test_a_kill_after_the_last_step_costs_nothing(
    place: Any, name: str, train: tuple[object, ...]
) -> None:
    output_of(*train)
    shutil.move("run", "undisturbed")
    with mock.patch.object(place, name, raising(Killed)), pytest.raises(Killed):
        invoke(*train)
    output_of("train", "--resume", "run")
    complete("run")
    assert weights("run") == weights("undisturbed")


def complete(path: str) -> None:
    run = Run.open(path)
    assert run.info["status"] == "done"
    assert run.evaluation is not None
    assert run.evaluation["readings"] == 1
    assert run.model_path.exists()
    assert (run.path / "report.html").exists()
    assert not [name for name in snapshot(run.path) if Path(name).name.startswith(".")]


def test_readings_of_the_test_set_are_counted(train: tuple[object, ...]) -> None:
    output_of(*train)
    first = Run.open("run").evaluation
    assert first is not None
    assert (first["readings"], first["first_read"]) == (1, first["when"])
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "The test set was read once, after this choice" in page
    output_of("evaluate", "run")
    output_of("report", "run")
    again = Run.open("run").evaluation
    assert again is not None
    assert (again["readings"], again["first_read"]) == (2, first["when"])
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "The test set was read 2 times, after this choice, first" in page


def test_the_test_set_is_not_read_before_the_epoch_is_chosen(
    train: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test set that records when its images are read: all at once, after the choice.

    What is read after that is for the pictures of the report.
    """
    from reslab.data import ArraySplit

    read: list[tuple[int, int | None]] = []
    images = ArraySplit.images

    def noted(self: ArraySplit, indices: Any, *rest: Any) -> Any:
        if len(self) == 48 and self.array.shape[0] == 48:  # of these sizes the test set alone is
            info = json.loads(Path("run/run.json").read_text())
            read.append((len(images(self, indices)), info["chosen_epoch"]))
        return images(self, indices, *rest)

    monkeypatch.setattr(ArraySplit, "images", noted)
    output_of(*train)
    chosen = Run.open("run").info["chosen_epoch"]
    assert chosen is not None
    assert read[0] == (48, chosen)
    assert all(when == chosen for _, when in read)
    evaluation = Run.open("run").evaluation
    assert evaluation is not None
    assert evaluation["readings"] == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"recipe": 3}, "expected 'object', got 'int' in 'recipe'"),
        ({"machine": []}, "expected 'object', got 'array' in 'machine'"),
        ({"seed": "0"}, "expected 'int', got 'str' in 'seed'"),
        ({"data": {}}, "it has no 'name' in 'data'"),
        ({"data.provenance": None}, "got 'null' in 'data.provenance'"),
        ({"data.checksum": None}, "expected 'str', got 'null' in 'data.checksum'"),
    ],
)
def test_damaged_entries_are_reported(changes: dict[str, Any], says: str, trained: Run) -> None:
    shutil.copytree(trained.path, "cut")
    info = json.loads(Path("cut/run.json").read_text())
    for name, value in changes.items():
        outer, _, inner = name.partition(".")
        info[outer] = {**info[outer], inner: value} if inner else value
    Path("cut/run.json").write_text(json.dumps(info))
    for words in (("train", "--resume"), ("evaluate",), ("report",)):
        assert says in error_of(*words, "cut")


@pytest.mark.parametrize("text", ["[1]", "{", '{"n": 3}'])
def test_a_damaged_evaluation_is_reported_and_replaced(text: str, trained: Run) -> None:
    shutil.copytree(trained.path, "cut")
    Path("cut/evaluation.json").write_text(text)
    said = error_of("report", "cut")
    assert "cut/evaluation.json is damaged" in said
    output_of("evaluate", "cut")
    output_of("report", "cut")


def test_data_made_in_python_can_be_evaluated(trained: Run) -> None:
    import numpy as np

    from reslab.data import ArraySplit, Data

    x, y = tiny.images(48, seed=3)
    split = ArraySplit.of(x, y)
    data = Data("made", "Python", ("0", "1", "2"), (8, 8, 1), split, split, split, "", {}, {})
    run = training.train(tiny.NETWORK, data, epochs=0.5, batch=16, out="run")
    complete("run")
    assert run.evaluation is not None
    assert np.sum(run.evaluation["confusion"]) == 48
    assert "were made in Python" in error_of("evaluate", "run")


def test_a_damaged_line_of_the_log_is_reported(trained: Run) -> None:
    shutil.copytree(trained.path, "cut")
    lines = Path("cut/log.jsonl").read_text().splitlines()
    Path("cut/log.jsonl").write_text("\n".join([lines[0], "gar bage", *lines[1:]]) + "\n")
    assert "line 2 of cut/log.jsonl is damaged" in error_of("report", "cut")
