"""Every option of a training with several labels per image works, or is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import reslab
from reslab.core.errors import UserError
from reslab.runs.run import Run
from tests.helpers import several_labels
from tests.helpers.cli import error_of, invoke, output_of

TRAIN = "--size", 16, "--epochs", 1, "--batch", 16


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return several_labels.table(tmp_path_factory.mktemp("tags"), 120)


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    answer = invoke("train", "resnet20", "--data", table, *TRAIN, "--out", out)
    assert answer.code == 0, answer.err
    return Run.open(out)


def test_folds_end_with_the_metrics_of_several_labels(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "folds"
    text = output_of("train", "resnet20", "--data", table, *TRAIN, "--folds", 2, "--out", out)
    assert "mean average precision" in text
    stored = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert len(stored["per_label"]) == 3
    assert "mean average precision" in (out / "report.html").read_text(encoding="utf-8")


def test_recipes_that_augment_smooth_and_stop_early(table: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"label_smoothing": 0.1, "stop_after": 1}
    changes["augment"] = ("area-crop(0.5)", "flip", "rand-augment(1,5)", "erase(0.25)")
    run = reslab.train(
        "resnet20", table, changes=changes, out=tmp_path / "run", size=16, epochs=2, batch=16
    )
    assert run.info["status"] == "done"
    for augment in ("mixup(0.2)", "cutmix(1)"):
        with pytest.raises(UserError, match=r"no augmentation '\w+'; there are: area-crop"):
            reslab.train("resnet20", table, changes={"augment": (augment,)}, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_finished_run_goes_on_with_more_epochs(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "more"
    answer = invoke("train", "--resume", run.path, "--epochs", 2, "--out", out)
    assert answer.code == 0, answer.err
    assert Run.open(out).info["task"] == "multilabel"


def test_a_range_of_learning_rates(table: Path, tmp_path: Path) -> None:
    answer = invoke(
        "lr-range", "resnet20", "--data", table, "--size", 16, "--batch", 16, "--steps", 20,
        "--out", tmp_path / "range",
    )  # fmt: skip
    assert answer.code == 0, answer.err


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_step(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "compiled"
    answer = invoke("train", "resnet20", "--data", table, *TRAIN, "--jit-compile", "--out", out)
    assert answer.code == 0, answer.err
    assert Run.open(out).evaluation is not None


@pytest.mark.parametrize("words", [("--class-weight", "rows=2"), ("--balance",)])
@pytest.mark.usefixtures("apart")
def test_weights_of_classes_are_refused_in_one_line(table: Path, words: tuple[str, ...]) -> None:
    line = error_of("train", "resnet20", "--data", table, *TRAIN, *words)
    assert "have several labels: leave it out" in line


def test_damaged_pictures_are_skipped(run: Run, tmp_path: Path) -> None:
    table = several_labels.table(tmp_path / "damaged", 60)
    (table.parent / "images" / "003.png").write_bytes(b"\x89PNG no")
    out = tmp_path / "run"
    answer = invoke("train", "resnet20", "--data", table, *TRAIN, "--skip-bad", "--out", out)
    assert answer.code == 0, answer.err
    assert [each["file"] for each in Run.open(out).info["data"]["facts"]["skipped"]] == [
        "images/003.png"
    ]
    answer = invoke("evaluate", run.path, "--data", table, "--skip-bad", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["skipped"][0]["file"] == "images/003.png"


def test_predict_of_a_folder_in_json(run: Run, table: Path) -> None:
    answers = json.loads(output_of("predict", run.path, table.parent / "images", "--json"))
    assert len(answers) == 120
    for answer in answers:
        for each in answer["predictions"]:
            assert set(each) == {"class", "probability", "threshold"}
            assert each["probability"] >= each["threshold"]
