"""Runs with several labels per image: trained, resumed, evaluated, fine-tuned, reported."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reslab
from reslab import data as sets
from reslab.core.errors import UserError
from reslab.core.progress import Watch
from reslab.report import page
from reslab.runs.run import Run
from tests.helpers import several_labels, tiny
from tests.helpers.cli import error_of, invoke, output_of
from tests.helpers.training import RECIPE, same_bits

NETWORK = replace(tiny.NETWORK, input_shape=(16, 16, 3))
OPTIONS: dict[str, Any] = {"epochs": 8, "batch": 16, "size": 16}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return several_labels.table(tmp_path_factory.mktemp("tags"), 240)


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return reslab.train(NETWORK, table, out=tmp_path_factory.mktemp("runs") / "tags", **OPTIONS)


@pytest.mark.core
def test_a_table_with_several_labels_is_learned(run: Run, table: Path) -> None:
    assert run.info["task"] == "multilabel"
    assert run.evaluation is not None
    assert run.evaluation["mean_average_precision"]["value"] > 0.9
    assert len(run.info["thresholds"]) == 3
    assert all("val_mean_average_precision" in line for line in run.log("epoch"))
    notes = " ".join(line["text"] for line in run.log("note"))
    assert "several per image: the column tags, separated by '|'" in notes
    model = reslab.load(run.path)
    assert model.classes == several_labels.CLASSES
    loaded = sets.from_provenance(run.info["data"]["provenance"])
    outputs = model.predict_on_batch(loaded.test.images(slice(None)))
    assert ((outputs >= 0) & (outputs <= 1)).all()
    assert (np.abs(outputs.sum(-1) - 1) > 0.2).any()  # no softmax
    names = [str(table.parent / name) for name in loaded.test.names]
    for row, output in zip(reslab.predict(run, names), outputs, strict=True):
        expected = {
            c
            for c, p, t in zip(model.classes, output, run.info["thresholds"], strict=True)
            if p >= t
        }
        assert {each["class"] for each in row["predictions"]} == expected
        probabilities = [each["probability"] for each in row["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True)
    assert len(reslab.predict(run, names[0], top=2)[0]["predictions"]) == 2


@pytest.mark.core
def test_the_chosen_epoch_has_the_highest_mean_average_precision(run: Run) -> None:
    lines = run.log("epoch")
    best = min(lines, key=lambda line: (-line["val_mean_average_precision"], line["val_loss"]))
    assert run.info["chosen_epoch"] == best["epoch"]


@pytest.mark.core
def test_stopped_and_resumed_ends_with_the_same_bits(table: Path, tmp_path: Path) -> None:
    data = sets.load(table, size=16)
    whole = reslab.train(NETWORK, data, RECIPE, out=tmp_path / "whole")

    def stop(done: float, text: str) -> None:
        if done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reslab.train(
            NETWORK,
            data,
            RECIPE,
            out=tmp_path / "cut",
            checkpoint_seconds=0,
            watch=Watch(step=stop),
        )
    resumed = reslab.resume(tmp_path / "cut")
    same_bits(whole, resumed)
    assert resumed.info["thresholds"] == whole.info["thresholds"]
    assert resumed.evaluation is not None
    assert whole.evaluation is not None
    assert resumed.evaluation["per_label"] == whole.evaluation["per_label"]


def test_label_smoothing_mirrors_and_views(table: Path, tmp_path: Path) -> None:
    changes = {"label_smoothing": 0.1, "augment": ("area-crop(0.5)", "flip")}
    run = reslab.train(NETWORK, table, changes=changes, out=tmp_path / "run", **OPTIONS)
    assert run.info["status"] == "done"


@pytest.mark.parametrize("option", [{"balance": True}, {"class_weights": {"rows": 2.0}}])
def test_weights_of_classes_are_refused(
    table: Path, tmp_path: Path, option: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="have several labels: leave it out"):
        reslab.train(NETWORK, table, out=tmp_path / "run", **OPTIONS, **option)
    assert not (tmp_path / "run").exists()


@pytest.mark.core
def test_fine_tuning_between_the_tasks_begins_with_a_new_head(
    run: Run, table: Path, tmp_path: Path
) -> None:
    x, _ = several_labels.arrays(60, 5)
    names = np.array(several_labels.CLASSES)[np.arange(60) % 3]
    x = x.repeat(2, 1).repeat(2, 2)[..., None].repeat(3, -1)
    single = reslab.train(
        NETWORK, (x, names), weights=run.path, out=tmp_path / "single", batch=8, epochs=1
    )
    assert "task" not in single.info
    assert "another task, multilabel: the head" in _notes(single)
    again = reslab.train(NETWORK, table, weights=single.path, out=tmp_path / "again", **OPTIONS)
    assert again.info["task"] == "multilabel"
    assert "another task, classification: the head" in _notes(again)
    same = reslab.train(NETWORK, table, weights=run.path, out=tmp_path / "same", **OPTIONS)
    assert "the head" not in _notes(same).split("steps 1 to")[0]


def _notes(run: Run) -> str:
    return " ".join(line["text"] for line in run.log("note"))


def test_evaluation_of_other_tables(run: Run, table: Path, tmp_path: Path) -> None:
    other = several_labels.table(tmp_path / "other", 40, ";")
    result = reslab.evaluate(run, other, keep_seen=True)
    assert result["n"] == 40
    few = "\n".join(["image,tags", *(f"{i:03},rows|up" for i in range(10))])
    (tmp_path / "other" / "few.csv").write_text(few)
    with pytest.raises(UserError, match=r"has other classes than .*'up' is new"):
        reslab.evaluate(run, tmp_path / "other" / "few.csv")
    single = "\n".join(["image,tags", *(f"{i:03},{'ab'[i % 2]}" for i in range(10))])  # new labels
    (tmp_path / "other" / "single.csv").write_text(single)
    with pytest.raises(UserError, match=r"has other classes than .*'a' is new"):
        reslab.evaluate(run, tmp_path / "other" / "single.csv")


def _columns(table: Path, name: str, header: str, rows: list[str]) -> Path:
    file = table.parent / name
    file.write_text("\n".join([f"image,{header}", *rows]) + "\n")
    return file


def test_evaluation_with_columns_of_some_labels(run: Run, table: Path, tmp_path: Path) -> None:
    """A label without a column is left out: nothing is known about it."""
    other = several_labels.table(tmp_path / "other", 40)
    truth = [line.split(",") for line in other.read_text().splitlines()[1:]]
    whole = reslab.evaluate(run, other, keep_seen=True)
    rows = [f"{n},x,{int('rows' in t)},{int('bright' in t)}" for n, t in truth]
    file = _columns(other, "two.csv", "note,rows,bright", rows)
    for columns in ({}, {"label_columns": "rows,bright"}):  # columns are known by the labels' names
        part = reslab.evaluate(run, file, keep_seen=True, columns=columns)
        assert part["classes"] == ["bright", "rows"]
        assert part["per_label"] == [r for r in whole["per_label"] if r["class"] != "columns"]
        assert part["labels_without_column"] == ["columns"]
        assert part["notes"] == ["not evaluated, because the data have no column for them: columns"]
    one = _columns(other, "one.csv", "rows", [f"{n},{int('rows' in t)}" for n, t in truth])
    for columns in ({}, {"label_columns": "rows"}):
        part = reslab.evaluate(run, one, keep_seen=True, columns=columns)
        assert part["classes"] == ["rows"]
    new = _columns(other, "new.csv", "rows,up", [f"{n},1,0" for n, _ in truth])
    with pytest.raises(UserError, match=r"has other classes than .*'up' is new; it knows bright"):
        reslab.evaluate(run, new, keep_seen=True, columns={"label_columns": "rows,up"})


def test_evaluation_where_a_label_never_occurs(run: Run, table: Path, tmp_path: Path) -> None:
    """Cells name all labels of an image: a label that no cell names is on no image."""
    other = several_labels.table(tmp_path / "other", 60)
    lines = other.read_text().splitlines()
    few = [line for line in lines[1:] if "columns" not in line]
    other.write_text("\n".join([lines[0], *few]))
    result = reslab.evaluate(run, other, keep_seen=True)
    assert result["classes"] == list(several_labels.CLASSES)
    assert [row["n"] for row in result["per_label"]][1] == 0
    assert result["notes"] == ["the evaluated part has no image of 1 class: columns"]
    one_each = [line for line in few if "|" not in line and not line.endswith(",")]
    other.write_text("\n".join([lines[0], *one_each]))
    result = reslab.evaluate(run, other, keep_seen=True)
    assert result["n"] == len(one_each)
    assert [row["n"] for row in result["per_label"]] == [
        sum(line.endswith(name) for line in one_each) for name in several_labels.CLASSES
    ]


def test_evaluation_of_labels_in_python(run: Run) -> None:
    x, y = several_labels.arrays(30, 9)
    x = x.repeat(2, 1).repeat(2, 2)[..., None].repeat(3, -1)
    whole = reslab.evaluate(run, (x, y))
    names = list(several_labels.CLASSES)
    turned = reslab.evaluate(run, {"test": (x, y[:, ::-1]), "classes": names[::-1]})
    assert turned["per_label"] == whole["per_label"]
    sets = [[names[k] for k in range(3) if row[k]] for row in y]
    assert reslab.evaluate(run, (x, sets))["per_label"] == whole["per_label"]
    two = reslab.evaluate(run, {"test": (x, y[:, 1:]), "classes": names[1:]})
    assert two["per_label"] == whole["per_label"][1:]
    with pytest.raises(UserError, match="labels have 2 columns and there are 3 names of classes"):
        reslab.evaluate(run, (x, y[:, 1:]))


def test_a_test_set_needs_all_columns(table: Path, tmp_path: Path) -> None:
    train = [line.split(",") for line in table.read_text().splitlines()[1:]]
    rows = [f"{n},{int('rows' in t)},{int('bright' in t)}" for n, t in train]
    file = _columns(table, "three.csv", "rows,bright,wide", [f"{row},1" for row in rows[:60]])
    fewer = _columns(table, "fewer.csv", "rows,bright", rows[60:])
    # the same option names the columns of both tables
    with pytest.raises(UserError, match="has no column for the label 'wide' of three: add it"):
        sets.load(file, size=8, test=str(fewer), columns={"label_columns": "[rbw]*"})


def test_the_command_line(run: Run, table: Path) -> None:
    text = output_of("evaluate", run.path)
    assert "test mean average precision" in text
    assert "F1 over all labels" in text
    assert "recall" in text
    stored = json.loads(output_of("evaluate", run.path, "--json"))
    assert stored["n"] == run.evaluation["n"]
    answer = output_of("predict", run.path, table.parent / "images" / "000.png")
    assert "%" in answer or "no label" in answer
    options = invoke("train", "--help").out
    assert "--label-columns A,B,C" in options
    assert "--label-separator TEXT" in options


def test_the_report_and_a_comparison_with_another_task(
    run: Run, trained: Run, tmp_path: Path
) -> None:
    html = page.write([run], tmp_path / "one.html").read_text(encoding="utf-8")
    for text in ("mean average precision", "F1 over all labels", "threshold", "come together"):
        assert text in html
    html = page.write([run, trained], tmp_path / "two.html").read_text(encoding="utf-8")
    assert "test result" in html
    assert "test-errors" not in html
    shutil.copytree(run.path, tmp_path / "copy")
    html = page.write([run, Run.open(tmp_path / "copy")], tmp_path / "same.html").read_text()
    assert "test mean average precision" in html
    assert "test-errors" in html


def test_seeds_are_averaged(table: Path, tmp_path: Path) -> None:
    from reslab.runs.options import TrainingOptions
    from reslab.training.seeds import train_seeds_with

    options = TrainingOptions(out=tmp_path / "seeds", epochs=1, batch=16, size=16)
    result = train_seeds_with("resnet20", str(table), options, 2)
    assert result.sentence.startswith("test mean average precision")


def test_a_label_that_no_training_image_has(tmp_path: Path) -> None:
    table = several_labels.table(tmp_path / "tags", 40)
    rows = table.read_text().splitlines()
    rows = [
        f"{rows[0]},part",
        *(f"{row},{'train' if i else 'test'}" for i, row in enumerate(rows[1:])),
    ]
    rows[1] = "000,rows|up,test"
    table.write_text("\n".join(rows))
    run = reslab.train(
        NETWORK, table, columns={"split": "part"}, out=tmp_path / "run", epochs=1, batch=16, size=16
    )
    assert "no training image has these labels, which cannot be learned: up" in _notes(run)


def test_without_validation_images_thresholds_are_the_usual_ones(
    table: Path, tmp_path: Path
) -> None:
    changes = {"validation": 0}
    run = reslab.train(NETWORK, table, changes=changes, out=tmp_path / "run", **OPTIONS)
    assert run.info["thresholds"] == [0.5, 0.5, 0.5]
    assert "No threshold was chosen" in (run.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("apart")
def test_studies_say_that_they_are_for_one_class(run: Run) -> None:
    for command in ("landscape", "lesions", "responses"):
        assert "has several labels per image" in error_of(command, run.path)
