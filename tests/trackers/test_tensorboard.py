"""Trainings that TensorBoard follows: what the event files hold, after kills too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import reslab
from reslab.core.progress import Watch
from reslab.runs.run import Run
from reslab.trackers.following import Follower, following, track
from reslab.trackers.rows import identity
from tests.helpers import tiny, tracked
from tests.helpers.runs import make_run
from tests.helpers.training import same_bits


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def followed(thirds: Path, tmp_path_factory: pytest.TempPathFactory, said: list[str]) -> Run:
    """The same training as `trained`, with a tracker."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    return reslab.train(
        tiny.NETWORK,
        thirds,
        epochs=2,
        batch=16,
        out=out,
        track="tensorboard",
        watch=Watch(say=said.append),
    )


def test_a_tracker_changes_no_bit(followed: Run, trained: Run) -> None:
    same_bits(followed, trained)
    assert followed.info["track"] == ["tensorboard"]
    assert trained.info["track"] == []


def test_the_place_is_said(followed: Run, said: list[str]) -> None:
    assert f"tracked by tensorboard: {followed.path / 'tensorboard'}" in said


def test_the_events_hold_the_log_and_the_evaluation(followed: Run) -> None:
    values = tracked.tensorboard(followed)
    tracked.assert_equal(tracked.logged(values), tracked.expected(followed))
    evaluation = followed.evaluation
    assert evaluation is not None
    ((step, error),) = values["test/top1_error"]
    assert step == followed.log("epoch")[-1]["step"]
    assert error == pytest.approx(evaluation["top1_error"]["value"])


def test_the_events_hold_configuration_and_report(followed: Run) -> None:
    texts = {
        value.tag: value.tensor.string_val[0].decode()
        for event in tracked.events(followed.path / "tensorboard")
        for value in event.summary.value
        if value.HasField("tensor")
    }
    names = {name.partition("/")[0] for name in texts}
    assert names == {"configuration", "report"}
    configuration, report = (text for _, text in sorted(texts.items()))
    assert "| recipe/batch | 16 |" in configuration
    assert str(followed.path / "report.html") in report
    assert "| test/top1_error |" in report


def test_what_is_there_is_not_sent_again(followed: Run) -> None:
    before = tracked.tensorboard(followed)
    assert track(followed, "tensorboard") == {
        "place": str(followed.path / "tensorboard"),
        "sent": 0,
    }
    assert tracked.tensorboard(followed) == before
    tags = [
        value.tag
        for event in tracked.events(followed.path / "tensorboard")
        for value in event.summary.value
        if not value.HasField("simple_value")
    ]
    assert len(tags) == len(set(tags))


def test_a_log_that_was_cut_is_not_doubled(tmp_path: Path) -> None:
    """After a kill the training goes back to its checkpoint, and logs the same steps again."""
    run = make_run(tmp_path / "run", epochs=2, status="running", evaluated=False)
    log = run.path / "log.jsonl"
    rows = [line for line in run.log() if line["kind"] != "note"]
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:30]) + lines[30][:20])
    assert track(run, "tensorboard")["sent"] == 30
    log.write_bytes(b"".join(lines[:12]))
    assert track(run, "tensorboard")["sent"] == 0
    log.write_bytes(b"".join(lines))
    assert track(run, "tensorboard")["sent"] == len(rows) - 30
    tracked.assert_equal(tracked.logged(tracked.tensorboard(run)), tracked.expected(run))


def test_an_event_that_was_not_finished_is_sent_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", epochs=1)
    rows = track(run, "tensorboard")["sent"]
    (file,) = (run.path / "tensorboard").glob("events*")
    whole = file.read_bytes()
    for end in (len(whole) // 2, 5):
        for other in (run.path / "tensorboard").glob("events*"):
            other.unlink()
        file.write_bytes(whole[:end])
        assert 0 < track(run, "tensorboard")["sent"] <= rows
        file.unlink()  # up to its end the readers see what is in both files
        second = tracked.tensorboard(run)
        first_steps = _steps_in(whole[:end], tmp_path)
        assert first_steps.isdisjoint(step for step, _ in second.get("steps/loss", []))
        seen = first_steps | {step for step, _ in second.get("steps/loss", [])}
        assert seen == {line["step"] for line in run.log("steps")}


def _steps_in(content: bytes, folder: Path) -> set[int]:
    from reslab.trackers.tensorboard import _events

    place = folder / "cut"
    place.mkdir(exist_ok=True)
    (place / "events.out.tfevents.1").write_bytes(content)
    return {e.step for e in _events(place) for v in e.summary.value if v.tag == "steps/loss"}


def test_a_killed_tracker_goes_on(tmp_path: Path) -> None:
    """SIGKILL of the process that sends, in the middle: no row is missing, and none is double."""
    run = make_run(tmp_path / "run", epochs=40)
    identity(run)
    follower = Follower("tensorboard", run.path, limit=60)
    while not any((run.path / "tensorboard").glob("events*")):
        time.sleep(0.01)
    follower.process.kill()
    follower.process.wait()
    follower.close()
    assert track(run, "tensorboard")["place"]
    tracked.assert_equal(tracked.logged(tracked.tensorboard(run)), tracked.expected(run))


FAILURES = {
    "raises": "raise RuntimeError('no disk\\nfor this')",
    "exits": "raise SystemExit(1)",
    "ends": "import os; os._exit(7)",
    "hangs": "import time; time.sleep(1000)",
    "interrupted": "raise KeyboardInterrupt",
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_tracker_that_fails_is_told_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorboardX").mkdir()
    (tmp_path / "tensorboardX" / "__init__.py").write_text(FAILURES[kind], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    patience = 0.5 if kind == "hangs" else 60.0
    monkeypatch.setattr("reslab.trackers.following.PATIENCE", patience)
    run = make_run(tmp_path / "run", epochs=1)
    lines: list[str] = []
    with following(run, ["tensorboard"], Watch(say=lines.append)) as watch:
        for step in range(3):
            watch.step(step, "")
    (line,) = lines
    assert line.startswith("caution: tensorboard does not get this training: ")
    assert f"`reslab track {run.path} --to tensorboard` sends what is missing" in line
    assert run.log("note")[-1]["text"] == line
    reasons = {"raises": "RuntimeError: no disk for this", "hangs": "no answer in 0 seconds"}
    assert reasons.get(kind, "") in line


def test_a_tracker_that_is_not_installed_does_not_stop_a_resumed_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reslab.trackers.base.find_spec", lambda name: None)
    run, lines = make_run(tmp_path / "run", epochs=1), []
    with following(run, ["tensorboard", "nothing"], Watch(say=lines.append)):
        pass
    assert ["reslab[tensorboard]" in line for line in lines] == [True, False]
    assert "no tracker 'nothing'" in lines[1]


def test_an_interrupted_run_is_not_closed(tmp_path: Path) -> None:
    """The status is the last word: TensorBoard gets neither the report nor an end."""
    run = make_run(tmp_path / "run", epochs=1, status="running")
    with pytest.raises(KeyboardInterrupt), following(run, ["tensorboard"], Watch()):
        raise KeyboardInterrupt
    assert track(run, "tensorboard")["place"]  # waits for the process that was left
    values = tracked.tensorboard(run)
    tracked.assert_equal(tracked.logged(values), tracked.expected(run))
    assert not any(name.startswith("test/") for name in values)


@pytest.mark.slow
def test_a_killed_training_doubles_no_step(thirds: Path, tmp_path: Path) -> None:
    """SIGKILL at several moments, and a resume after each: every step is there once."""
    out = tmp_path / "run"
    script = textwrap.dedent(
        """
        import sys
        import reslab
        from pathlib import Path
        from tests.helpers import tiny
        from tests.helpers.training import RECIPE
        data, out = sys.argv[1:]
        if Path(out).exists():
            reslab.resume(out)
        else:
            reslab.train(tiny.NETWORK, data, RECIPE, epochs=60, out=out, track="tensorboard",
                         checkpoint_seconds=0.2)
        """
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", script, str(thirds), str(out)]
    for epochs in (3, 11, 29):
        process = subprocess.Popen(command, env=environment)
        log = out / "log.jsonl"
        while not (log.exists() and log.read_text().count('"epoch", "epoch"') >= epochs):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment, check=True)
    run = Run.open(out)
    assert run.info["status"] == "done"
    values = tracked.tensorboard(run)
    for name in ("steps/loss", "epoch/train_loss", "epoch/val_error", "epoch/rate"):
        assert [step for step, _ in values[name]] == [
            step for step, _ in tracked.expected(run)[name]
        ]
    for name in ("epoch/train_loss", "epoch/val_error"):  # the same bits, so the same values
        tracked.assert_equal({name: values[name]}, {name: tracked.expected(run)[name]})
    assert len(values["test/top1_error"]) == 1


@pytest.mark.slow
def test_tensorboard_reads_the_events(followed: Run) -> None:
    values = tracked.tensorboard_itself(followed)
    tracked.assert_equal(tracked.logged(values), tracked.expected(followed))
    assert json.loads((followed.path / "trackers.json").read_text())["format"] == 1
