"""The commands: what they print and which files they write."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from reslab import zoo
from reslab.data import load
from reslab.runs.papers import RECIPES
from reslab.runs.run import Run
from tests.helpers import tiny
from tests.helpers.cli import invoke, output_of, pictures

pytestmark = [
    pytest.mark.usefixtures("apart"),
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="the printed text does not depend on the backend"
    ),
]


# list and show ---------------------------------------------------------------------------------


def test_list_prints_all_networks_recipes_and_data_sets() -> None:
    output = output_of("list")
    for name in (*zoo.NETWORKS, *RECIPES, "glyphs", "fashion-mnist", "cifar10", "emnist-byclass"):
        assert re.search(rf"^\s*{re.escape(name)}\s", output, re.M), name
    data = json.loads(output_of("list", "--json"))
    assert [net["name"] for net in data["networks"]] == list(zoo.NETWORKS)
    assert {recipe["name"] for recipe in data["recipes"]} == set(RECIPES)


def test_show_prints_a_column_of_table_1() -> None:
    output = output_of("show", "resnet50")
    inner = 256 * 256 * 9 + 256 * 1024
    kernels = 6 * inner + (512 + 5 * 1024) * 256 + 512 * 1024  # the last term is the projection
    bn = 2 * (6 * (256 + 256 + 1024) + 1024)
    # the first 1x1 has stride 1 at 28x28: four times as many positions
    adds = 14**2 * (kernels + 3 * 512 * 256)
    row = rf"conv4_x +14x14 +\[1x1, 256; 3x3, 256; 1x1, 1024\] x 6 +{kernels + bn:,} +{adds:,}"
    assert re.search(row, output)
    assert re.search(r"total +25,557,032 +4,089,184,256", output)


def test_show_as_json() -> None:
    shown = json.loads(output_of("show", "resnet20", "--json"))
    assert shown["name"] == "resnet20"
    assert (shown["input_shape"], shown["classes"], shown["depth"]) == ([32, 32, 3], 10, 20)
    assert shown["trainable_params"] == 269_722
    assert shown["total_params"] == 269_722 + 2 * (7 * 16 + 6 * 32 + 6 * 64)
    assert shown["multiply_adds"] == 40_551_040
    assert [row["row"] for row in shown["rows"]] == [
        "conv1",
        "conv2_x",
        "conv3_x",
        "conv4_x",
        "head",
    ]


def test_show_at_another_size_and_number_of_classes() -> None:
    shown = json.loads(output_of("show", "resnet20", "--size", 64, "--classes", 100, "--json"))
    assert shown["trainable_params"] == 269_722 + 5_850  # facts: a head of 100 classes
    convolutions = 40_551_040 - 640
    assert shown["multiply_adds"] == 4 * convolutions + 6_400


def test_show_counts_auxiliary_heads_separately() -> None:
    shown = json.loads(output_of("show", "googlenet", "--json"))
    assert (shown["trainable_params"], shown["trainable_params_with_aux"]) == (
        6_624_904,
        13_004_888,
    )
    output = output_of("show", "googlenet")
    assert "behind inception_4a and inception_4d: 13,004,888 parameters" in output


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reslab", "show", "plain20", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["name"] == "plain20"
    done = subprocess.run(
        [sys.executable, "-m", "reslab", "--version"], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"reslab, version \d+\.\d+\.\d+\n", done.stdout)


# train -----------------------------------------------------------------------------------------


def test_training_prints_its_progress_and_the_path_of_the_report(thirds: Path) -> None:
    shutil.copytree(thirds, "thirds")
    words = ("train", "tiny", "--data", "thirds", "--recipe", "quick", "--epochs", 2)
    first = invoke(*words, "--batch", 16, "--set", "rate=0.1", "--seed", 3)
    assert first.code == 0, first.err
    assert re.search(r"epoch 1 chosen; test error|epoch 2 chosen; test error", first.out)
    assert "of 48 images" in first.out
    assert "report: runs/tiny-thirds-quick-1/report.html" in first.out
    assert re.search(r"^epoch 2: loss \d\.\d{4}, error .* %, validation .* %; ", first.err, re.M)
    assert "images/s" in first.err
    run = Run.open("runs/tiny-thirds-quick-1")
    recipe = run.info["recipe"]
    assert (recipe["rate"], recipe["batch"], recipe["epochs"]) == (0.1, 16, 2)
    assert run.info["seed"] == 3
    second = output_of(*words, "--batch", 16, "--epochs", 0.5)
    assert "report: runs/tiny-thirds-quick-2/report.html" in second


def test_a_recipe_from_a_file(thirds: Path) -> None:
    Path("mine.toml").write_text('base = "quick"\nepochs = 0.5\nrate = 0.02\naugment = ["flip"]\n')
    output_of("train", "tiny", "--data", thirds, "--recipe", "mine.toml", "--out", "run")
    recipe = Run.open("run").info["recipe"]
    assert (recipe["name"], recipe["rate"], recipe["nesterov"]) == ("mine", 0.02, True)


def test_balance_weights_classes_equally() -> None:
    at = pictures(Path("pets"))
    for file in sorted((at / "left").iterdir())[5:]:
        file.unlink()
    output_of("train", "tiny", "--data", "pets", "--balance", "--epochs", 0.5, "--out", "run")
    run = Run.open("run")
    assert run.info["balance"] is True
    assert run.evaluation is not None
    assert 0 <= run.evaluation["balanced_accuracy"] <= 1
    assert "balanced accuracy" in output_of("evaluate", "run")


def test_a_sample_of_the_training_images(thirds: Path) -> None:
    output_of("train", "tiny", "--data", thirds, "--images", 60, "--epochs", 1, "--out", "run")
    data = Run.open("run").info["data"]
    assert data["counts"]["train"] == 60
    assert data["facts"]["counts"]["train"] == {"0": 20, "1": 20, "2": 20}
    assert "60 of " in data["facts"]["sample"]
    output_of("responses", "run", "--images", 20)  # loads the sample again
    few = invoke("train", "tiny", "--data", thirds, "--images", 5000)
    assert few.code == 2
    assert "not 5,000" in few.err


# evaluate, predict, report -----------------------------------------------------------------------


def test_evaluate(trained: Run) -> None:
    shutil.copytree(trained.path, "run")
    output = output_of("evaluate", "run")
    assert re.search(
        r"test error \d+\.\d+ % \(95 % interval \d+\.\d+ to \d+\.\d+ %\) of 48 images", output
    )
    assert "calibration error" in output
    metrics = json.loads(output_of("evaluate", "run", "--json"))
    assert metrics["top1_error"]["low"] <= metrics["top1_error"]["value"]
    assert metrics["split"] == "test"
    assert np.sum(metrics["confusion"]) == metrics["n"] == 48
    assert len(metrics["per_class"]) == 3
    assert "mistakes" not in metrics
    stored = Run.open("run").evaluation
    assert stored is not None
    assert stored["top1_error"] == metrics["top1_error"]


def test_evaluate_on_other_data_writes_a_separate_file(trained: Run, tmp_path: Path) -> None:
    shutil.copytree(trained.path, "run")
    before = Path("run/evaluation.json").read_bytes()
    tiny.folder(tmp_path / "more", test=24)
    metrics = json.loads(output_of("evaluate", "run", "--data", tmp_path / "more", "--json"))
    assert (metrics["data"], metrics["n"]) == ("more", 24)
    assert Path("run/evaluation-more.json").exists()
    assert Path("run/evaluation.json").read_bytes() == before


def test_predict_files_folders_and_lists(trained: Run, thirds: Path) -> None:
    """On images of the test set, predictions agree with the stored evaluation."""
    test = load(thirds).test
    assert test is not None
    Path("shown/inner").mkdir(parents=True)
    names = [f"shown/{i}.png" for i in range(6)] + ["shown/inner/6.png"]
    for name, pixels in zip(names, test.images(np.arange(7)), strict=True):
        Image.fromarray(pixels[..., 0]).save(name)
    predictions = json.loads(output_of("predict", trained.path, *names, "--json"))
    assert [image["file"] for image in predictions] == names
    for image in predictions:
        probabilities = [guess["probability"] for guess in image["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)  # all three classes
    assert trained.evaluation is not None
    wrong = {mistake["index"] for mistake in trained.evaluation["mistakes"]}
    for i, image in enumerate(predictions):
        right = image["predictions"][0]["class"] == str(test.labels[i])
        assert right == (i not in wrong)
    assert json.loads(output_of("predict", trained.path, "shown", "--json")) == predictions
    listed = output_of("predict", trained.path, "-", "--json", stdin="\n".join(names) + "\n\n")
    assert json.loads(listed) == predictions
    assert json.loads(output_of("predict", trained.model_path, *names, "--json")) == predictions
    line = output_of("predict", trained.path, names[0], "--top", 1)
    guess = predictions[0]["predictions"][0]
    assert line == f"{names[0]}: {guess['class']} {100 * guess['probability']:.1f} %\n"


def test_report_of_several_runs(trained: Run) -> None:
    shutil.copytree(trained.path, "again")
    assert output_of("report", trained.path, "again") == "report: report.html\n"
    page = Path("report.html").read_text(encoding="utf-8")
    assert str(trained.path) in page
    assert output_of("report", "again", "--out", "there/a.html") == "report: there/a.html\n"


def test_every_command_has_help() -> None:
    output = output_of("--help")
    assert output_of() == output
    for command in ("evaluate", "list", "predict", "report", "show", "train"):
        assert f"\n  {command} " in output
        assert output_of(command, "--help").startswith(f"Usage: reslab {command}")
        assert output_of(command, "-h") == output_of(command, "--help")
