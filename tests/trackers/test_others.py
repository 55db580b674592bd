"""MLflow, W&B and Trackio: what their own libraries read back.

They are large, and scripts/test --all installs them. The settings of W&B that a server decides are
tested with a stand-in.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reslab
from reslab.core.progress import Watch
from reslab.runs.run import Run
from reslab.trackers.following import Follower, following, track
from reslab.trackers.rows import START, Position, identity
from reslab.trackers.wandb import _mode, _position
from tests.helpers import tiny, tracked
from tests.helpers.runs import make_run
from tests.helpers.training import same_bits

READ: dict[str, Callable[[Run], dict[str, Any]]] = {
    "mlflow": tracked.mlflow,
    "wandb": tracked.wandb,
    "trackio": tracked.trackio,
}
ENVIRONMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE", "WANDB_API_KEY"


@pytest.fixture(params=READ)
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracker that is installed, with a home of its own."""
    if find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for variable in ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)
    return str(request.param)


@pytest.mark.slow
def test_a_training_is_read_back(name: str, trained: Run, thirds: Path, tmp_path: Path) -> None:
    """Metrics, configuration, evaluation and report; and the bits are those without a tracker."""
    lines: list[str] = []
    run = reslab.train(
        tiny.NETWORK,
        thirds,
        epochs=2,
        batch=16,
        out=tmp_path / "trained",
        track=[name],
        watch=Watch(say=lines.append),
    )
    same_bits(run, trained)
    assert not [line for line in lines if "does not get" in line]
    answer = READ[name](run)
    tracked.assert_equal(tracked.logged(answer["values"]), tracked.expected(run))
    evaluation = run.evaluation
    assert evaluation is not None
    ((step, error),) = answer["values"]["test/top1_error"]
    assert (step, error) == (run.log("epoch")[-1]["step"], evaluation["top1_error"]["value"])
    if name == "mlflow":
        assert answer["params"]["recipe/batch"] == "16"
        assert (answer["status"], answer["artifacts"]) == ("FINISHED", ["report.html"])
    elif name == "wandb":
        assert answer["config"]["recipe"]["batch"] == 16
        assert (answer["exit"], len(answer["artifacts"])) == ([0], 1)
    else:
        assert answer["config"]["recipe/batch"] == 16
        report = (run.path / "report.html").read_bytes()
        blobs = (tmp_path / "trackio" / "artifacts").rglob("*")
        assert report in [path.read_bytes() for path in blobs if path.is_file()]


@pytest.mark.slow
def test_no_step_is_doubled(name: str, tmp_path: Path) -> None:
    """A log that was cut and written again, and a process that was killed while it sent."""
    run = make_run(tmp_path / "run", epochs=2, status="running", evaluated=False)
    log = run.path / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:30]))
    track(run, name)
    log.write_bytes(b"".join(lines[:12]))
    track(run, name)
    log.write_bytes(b"".join(lines))
    identity(run)
    follower = Follower(name, run.path, limit=60)
    while not follower.messages:  # it is open, and sends
        time.sleep(0.01)
    follower.process.send_signal(signal.SIGKILL)
    follower.process.wait()
    follower.close()
    run.save(status="done")
    track(run, name)
    answer = READ[name](run)
    tracked.assert_equal(tracked.logged(answer["values"]), tracked.expected(run))
    assert track(run, name)["sent"] == (0 if name != "wandb" else len(lines) - 1)
    again = READ[name](run)
    tracked.assert_equal(again["values"], answer["values"])


@pytest.mark.slow
def test_an_interrupted_run_is_continued(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", epochs=1, status="running", evaluated=False)
    with pytest.raises(KeyboardInterrupt), following(run, [name], Watch()):
        raise KeyboardInterrupt
    track(run, name)
    if name == "mlflow":
        assert READ[name](run)["status"] == "KILLED"
    run.save(status="failed", why="the loss is nan")
    track(run, name)
    answer = READ[name](run)
    tracked.assert_equal(tracked.logged(answer["values"]), tracked.expected(run))
    if name == "mlflow":
        assert answer["status"] == "FAILED"


@pytest.mark.slow
def test_two_runs_of_one_name_stay_apart(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    runs = [make_run(tmp_path / place / "run", epochs=1, seed=i) for i, place in enumerate("ab")]
    for run in runs:
        track(run, name)
    for run in runs:
        values = READ[name](run)["values"]
        tracked.assert_equal(tracked.logged(values), tracked.expected(run))


@pytest.mark.slow
def test_mlflow_keeps_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    address = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    run = make_run(tmp_path / "runs" / "run", epochs=1)
    monkeypatch.chdir(tmp_path)
    assert track(run, "mlflow")["place"] == address
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "runs" / "mlflow.db").exists()


def test_wandb_online_knows_its_last_row() -> None:
    """The server restores the summary of a run that is resumed."""
    new = SimpleNamespace(resumed=False, summary={})
    assert _position(new) == START
    last = {"step": 150.0, "kind": "epoch", "epoch/val_error": 0.1}
    assert _position(SimpleNamespace(resumed=True, summary=last)) == Position(150, 1)
    assert _position(SimpleNamespace(resumed=True, summary={})) == START


def test_wandb_without_a_key_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SimpleNamespace(mode="online", base_url="https://api.wandb.ai")
    for variable in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    assert _mode(settings) == "offline"
    netrc.write_text("machine api.wandb.ai login user password x\n", encoding="utf-8")
    os.chmod(netrc, 0o600)
    assert _mode(settings) == "online"
    netrc.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert _mode(settings) == "online"
    assert _mode(SimpleNamespace(mode="disabled")) == "disabled"
