"""What each tracker's own library reads of a run: values by name and step."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reslab.runs.run import Run
from reslab.trackers.rows import identity

Values = dict[str, list[tuple[int, float]]]  # the steps and values of each name, in their order


def expected(run: Run, kinds: tuple[str, ...] = ("steps", "epoch")) -> Values:
    """What the log of a run says."""
    values: Values = {}
    for line in run.log():
        if line["kind"] in kinds:
            for name, value in line.items():
                if name not in ("kind", "step", "epoch") and value is not None:
                    values.setdefault(f"{line['kind']}/{name}", []).append((line["step"], value))
    return values


def assert_equal(values: Values, others: Values) -> None:
    """Assert equal steps and values, the latter in the precision of float32."""
    assert values.keys() == others.keys()
    for name in values:
        assert [step for step, _ in values[name]] == [step for step, _ in others[name]], name
        both = zip(values[name], others[name], strict=True)
        assert all(a == pytest.approx(b, rel=1e-6) for (_, a), (_, b) in both), name


def logged(values: Values) -> Values:
    """Those that come from the log, without the results and the axis."""
    return {name: rows for name, rows in values.items() if name.startswith(("steps/", "epoch/"))}


# TensorBoard --------------------------------------------------------------------------------------


def events(folder: Path) -> Iterator[Any]:
    """The events of all files. Their checksums are verified."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            record, rest = content[12 : 12 + size], content[12 + size :]
            assert struct.unpack("<I", content[8:12])[0] == masked_crc32c(content[:8])
            assert struct.unpack("<I", rest[:4])[0] == masked_crc32c(record)
            yield Event.FromString(record)
            content = rest[4:]


def tensorboard(run: Run) -> Values:
    """The scalars in the event files."""
    values: Values = {}
    for event in events(run.path / "tensorboard"):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                values.setdefault(value.tag, []).append((event.step, value.simple_value))
    return values


def tensorboard_itself(run: Run) -> Values:
    """The scalars as TensorBoard reads them."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


# The others: read in a process of its own, as the libraries start threads and keep caches ---------


def _ask(script: str, *arguments: str, **environment: str) -> Any:
    import json

    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


MLFLOW = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name("reslab")
(run,) = client.search_runs([experiment.experiment_id], f"tags.`reslab.id` = '{sys.argv[2]}'")
number = run.info.run_id
history = {name: client.get_metric_history(number, name) for name in run.data.metrics}
print(json.dumps({
    "values": {name: [(m.step, m.value) for m in sorted(metrics, key=lambda m: m.step)]
               for name, metrics in history.items()},
    "params": run.data.params,
    "status": run.info.status,
    "artifacts": [artifact.path for artifact in client.list_artifacts(number)],
}))
"""
WANDB = """
import json, struct, sys
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record

def records(content):
    # the log format of LevelDB in blocks of 32 KiB, after a header of 7 bytes
    position, parts = 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, size, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""

answer = {"rows": [], "config": {}, "files": 0, "artifacts": [], "exit": []}
for path in sorted(Path(sys.argv[1]).glob(f"wandb/*-{sys.argv[2]}/*.wandb")):
    answer["files"] += 1
    for record in records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            row = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
            answer["rows"].append(row)
        elif kind == "run":
            for update in record.run.config.update:
                answer["config"][update.key or update.nested_key[0]] = json.loads(update.value_json)
        elif kind == "artifact" and record.artifact.type == "report":
            answer["artifacts"].append(record.artifact.name)
        elif kind == "exit":
            answer["exit"].append(record.exit.exit_code)
print(json.dumps(answer))
"""
TRACKIO = """
import json, sys
import trackio
(run,) = [run for run in trackio.Api().runs("reslab") if run.name.endswith(sys.argv[1][:6])]
rows = trackio.SQLiteStorage.get_logs("reslab", run.name, run_id=run.id)
print(json.dumps({"rows": rows, "config": run.config}))
"""


def mlflow(run: Run) -> dict[str, Any]:
    """What MLflow's client reads from mlflow.db beside the run."""
    address = f"sqlite:///{run.path.parent / 'mlflow.db'}"
    return _ask(MLFLOW, address, identity(run), MLFLOW_DISABLE_TELEMETRY="true")


def wandb(run: Run) -> dict[str, Any]:
    """What the offline files of W&B hold."""
    answer = _ask(WANDB, str(run.path), identity(run))
    answer["values"] = by_name(answer["rows"])
    return answer


def trackio(run: Run) -> dict[str, Any]:
    """What Trackio reads from its own folder."""
    answer = _ask(TRACKIO, identity(run))
    answer["values"] = by_name(answer["rows"])
    return answer


def by_name(rows: list[dict[str, Any]]) -> Values:
    """Rows with a "step" as the values of each name."""
    values: Values = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, int | float) and "/" in name:
                values.setdefault(name, []).append((int(row["step"]), value))
    return values
