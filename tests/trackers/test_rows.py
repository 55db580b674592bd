"""The rows that trackers get of a log, and their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from reslab.core.errors import UserError
from reslab.runs.options import TrainingOptions
from reslab.runs.run import Run
from reslab.trackers import rows
from reslab.trackers.rows import LogTail, Position, flat
from tests.helpers.runs import make_run


def steps_line(step: int, epoch: float) -> dict[str, object]:
    return {"kind": "steps", "step": step, "epoch": epoch, "loss": 1.0, "images_per_second": None}


def test_rows_have_the_values_of_their_lines(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", epochs=2)
    lines = [line for line in run.log() if line["kind"] != "note"]
    tail = list(LogTail(run).read())
    assert len(tail) == len(lines) > 40
    for row, line in zip(tail, lines, strict=True):
        assert (row.step, row.kind) == (line["step"], line["kind"])
        assert row.values["epoch"] == line["epoch"]
        own = {name.partition("/")[2]: v for name, v in row.values.items() if "/" in name}
        assert own == {k: v for k, v in line.items() if k not in ("kind", "step", "epoch")}
    positions = [row.position for row in tail]
    assert positions == sorted(set(positions))


def test_a_growing_log_is_read_line_by_line(tmp_path: Path) -> None:
    """An unfinished line comes later; one that is no row is left out."""
    run = make_run(tmp_path / "run", epochs=1)
    log, tail = run.path / "log.jsonl", LogTail(run)
    log.unlink()
    assert list(tail.read()) == []
    log.write_bytes(b'{"kind": "note", "text": "x"}\n{"kind": "steps", "step": 50, "epoch"')
    assert list(tail.read()) == []
    with log.open("ab") as file:
        file.write(b': 0.5, "loss": 2}\n[]\n{"kind": "steps"}\nno json\n')
    (row,) = tail.read()
    assert row == (50, "steps", {"steps/loss": 2.0, "epoch": 0.5})
    assert list(tail.read()) == []


def test_steps_are_those_of_the_first_batch(tmp_path: Path) -> None:
    """A run that was resumed with another batch counts other steps: trackers need one axis."""
    run = make_run(tmp_path / "run", epochs=2)  # 54,000 training images
    batch = run.info["recipe"]["batch"]
    assert run.first_batch == batch
    before = {"batch": batch // 2, "rate": 0.1}
    run.save(resumed_with=[{"remat": True}, {"batch": batch, "rate": 0.2, "before": before}])
    assert run.first_batch == batch // 2
    (run.path / "log.jsonl").unlink()
    per_epoch = 54_000 // (batch // 2)
    run.append(**steps_line(per_epoch, 1.0))  # by the first batch
    run.append(**steps_line(int(per_epoch * 0.75), 1.5))  # by the second one
    assert [row.step for row in LogTail(run).read()] == [per_epoch, round(per_epoch * 1.5)]


def test_the_results_are_the_last_row(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    evaluation = run.evaluation
    assert evaluation is not None
    row = rows.results(run, 2400)
    assert row is not None
    assert row.position == Position(2400, 2) > Position(2400, 1)
    top1 = evaluation["top1_error"]
    assert row.values["test/top1_error"] == top1["value"]
    assert row.values["test/top1_error_low"] == top1["low"]
    assert row.values["test/top1_error_high"] == top1["high"]
    assert row.values["test/ece"] == evaluation["calibration"]["ece"]
    assert row.values["test/images"] == evaluation["n"]
    assert rows.results(make_run(tmp_path / "b", evaluated=False), 1) is None


def test_the_configuration_has_recipe_network_and_data(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seed=3)
    entries = flat(rows.configuration(run))
    assert entries["recipe/name"] == "quick"
    assert entries["recipe/rate"] == run.info["recipe"]["rate"]
    assert entries["network/name"] == "resnet20"
    assert entries["data/checksum"] == run.info["data"]["checksum"]
    assert entries["data/train_images"] == 54_000
    assert entries["options/seed"] == 3
    assert entries["machine/cores"] == 2
    assert flat({"a": {"b": [], "c": (1, 2)}, "d": None, "e": float("inf")}) == {
        "a/b": "none",
        "a/c": "1, 2",
        "e": "inf",
    }


def test_a_run_has_one_identity(tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    number = rows.identity(run)
    assert rows.identity(Run.open(run.path)) == number != rows.identity(other)
    (run.path / "trackers.json").write_text('{"format": 1, "id": "../x"}', encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
        rows.identity(run)


@pytest.mark.parametrize("given", ["a,b", " b ,, a", ["b", "a,b"], "", ()])
def test_names_with_commas(given: str | list[str]) -> None:
    assert set(TrainingOptions(track=given).track) == ({"a", "b"} if given else set())
