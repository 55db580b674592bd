"""The text of a report: numbers, states of a run, escaping."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reslab.core.errors import UserError
from reslab.evaluation.metrics import classification_metrics
from reslab.report import page as report
from reslab.runs.recipe import Recipe, change
from reslab.runs.run import Run
from tests.helpers.runs import FASHION, make_run

NASTY = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--<b>&amp;",
    "é",
]


class Reader(HTMLParser):
    """The visible text, the start tags and the content of the scripts of a page."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._inside = ""
        self.feed(page)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self._inside != "style":
            self.words.append(data)

    def charts(self) -> dict[str, dict]:
        found = [(a, s) for a, s in self.scripts if a.get("type") == "application/json"]
        return {str(a["id"]).removesuffix("-data"): json.loads(s) for a, s in found}


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Reader:
    folder = tmp_path_factory.mktemp("runs")
    run = make_run(folder / "first")
    path = report.write([Run.open(run.path)], folder / "deep" / "report.html")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return Reader(path.read_text(encoding="utf-8"))


def test_a_report_has_the_numbers_of_its_run(one, tmp_path):
    evaluation = make_run(tmp_path / "first").evaluation
    assert evaluation is not None
    error = evaluation["top1_error"]
    assert "resnet20 on fashion-mnist" in one.text
    assert f"test error {100 * error['value']:.1f} %" in one.text
    assert f"95 % interval {100 * error['low']:.1f} to {100 * error['high']:.1f} %" in one.text
    assert "n = 600 images" in one.text
    assert re.search(
        r"Epoch \d was chosen on validation images. The test set was read once", one.text
    )
    assert "269,722" in one.text
    assert "40.55 million" in one.text
    assert "reslab train resnet20 --data fashion-mnist" in one.text
    assert "[3x3, 16; 3x3, 16] x 3" in one.text
    assert "coat/broken.png: truncated" in one.text
    assert "train Sans, Serif test Mono" in one.text
    assert "Trouser 5,400 600" in one.text  # of training and validation
    assert "9f8b1de0" in one.text  # the checksum
    assert "1f3c9a7e5d2b" in one.text  # the commit
    assert "one-cycle" in one.text  # the recipe


def test_a_report_has_all_charts(one):
    assert set(one.charts()) == {
        "curves-error",
        "curves-loss",
        "curves-rate",
        "run-0-confusion",
        "run-0-classes",
        "run-0-reliability",
    }
    by_epoch = [t for t in one.charts()["curves-error"]["data"] if t.get("name") == "validation"]
    assert by_epoch[0]["x"] == [1, 2, 3, 4, 5, 6]


def test_pictures_have_texts_and_tables_have_headers(one):
    images = [attrs for tag, attrs in one.tags if tag == "img"]
    assert images
    assert all("predicted as" in (image["alt"] or "") for image in images)
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in images)
    charts = [attrs for _, attrs in one.tags if attrs.get("class") == "chart"]
    assert len(charts) == 6
    assert all(chart["aria-label"] for chart in charts)
    headers = [attrs for tag, attrs in one.tags if tag == "th"]
    assert headers
    assert all(header.get("scope") in ("col", "row") for header in headers)
    ids = [attrs["id"] for _, attrs in one.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))


def test_the_page_makes_no_request(one):
    for tag, attrs in one.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            address = attrs.get(name) or ""
            assert address.startswith(("data:", "#")) or not address, (tag, address)
    policy = next(a["content"] for t, a in one.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_text_of_the_user_is_escaped(tmp_path):
    run = make_run(tmp_path / "x", classes=NASTY, data="<i>&", n=80, error=0.5)
    run.save(command=f"reslab train {NASTY[0]}", name=NASTY[1])
    page = report.write([run], tmp_path / "report.html").read_text(encoding="utf-8")
    found = Reader(page)
    assert "alert(1)</script>" in found.text
    plain = Reader(report.write([make_run(tmp_path / "y")], tmp_path / "y.html").read_text())
    count = [sum(tag == "script" for tag, _ in reader.tags) for reader in (found, plain)]
    assert count[0] == count[1] == 8  # six charts, the library, page.js
    assert not [attrs for _, attrs in found.tags if "onerror" in attrs]
    ticks = found.charts()["run-0-confusion"]["layout"]["yaxis"]["ticktext"]
    assert ticks[3] == "é"
    assert not any("<" in tick for tick in ticks)


def test_several_runs_are_compared(tmp_path):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", "plain20", error=0.2, seed=1)]
    found = Reader(report.write(runs, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "resnet20 and plain20 on fashion-mnist" in found.text
    assert "2 runs side by side" in found.text
    assert "were trained on different data" not in found.text
    charts = found.charts()
    assert {"test-errors", "run-0-confusion", "run-1-confusion"} <= set(charts)
    colours = {t["line"]["color"] for t in charts["curves-error"]["data"] if "line" in t}
    assert colours == {"--run-0", "--run-1"}
    assert charts["test-errors"]["data"][0]["marker"]["color"] == ["--run-0", "--run-1"]


def test_runs_on_different_data_say_so(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    b.save(data={**b.info["data"], "checksum": "other"})
    found = Reader(report.write([a, b], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "were trained on different data" in found.text


def test_runs_of_the_same_name_get_their_folders(tmp_path):
    runs = [make_run(tmp_path / side / "same", n=100) for side in ("here", "there")]
    found = Reader(report.write(runs, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert str(tmp_path / "here" / "same") in found.text
    assert str(tmp_path / "there" / "same") in found.text


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("running", "This run is not finished: 6 of 6 epochs are logged"),
        ("failed", "This run failed after 6 of 6 epochs, so it has no test error"),
        ("done", "This run is not evaluated: it has no test error"),
    ],
)
def test_a_run_without_an_evaluation_says_so(tmp_path, status, says):
    run = make_run(tmp_path / "run", status=status, evaluated=False)
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert says in found.text.replace(" :", ":")
    assert "test error 0" not in found.text
    assert "was read once" not in found.text
    assert set(found.charts()) == {"curves-error", "curves-loss", "curves-rate"}


def test_a_run_that_only_started_has_a_report(tmp_path):
    run = make_run(tmp_path / "run", status="running", evaluated=False)
    (run.path / "log.jsonl").unlink()
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "0 of 6 epochs are logged" in found.text
    assert found.charts() == {}


def test_a_run_without_most_fields_has_a_report(tmp_path):
    run = make_run(tmp_path / "run", evaluated=False)
    run.info = {"network": run.info["network"]}
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "resnet20 on unknown" in found.text
    assert "269,722" in found.text


def test_a_loss_that_is_nan_leaves_a_gap(tmp_path):
    why = "the loss is NaN at step 9999"
    run = make_run(tmp_path / "run", status="failed", evaluated=False, why=why)
    run.append(kind="steps", step=9999, epoch=6.5, loss=float("nan"), error=1.0, rate=0.1)
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Why: the loss is NaN at step 9999" in found.text
    assert found.charts()["curves-loss"]["data"][0]["y"][-1] is None


def test_a_validation_error_is_not_called_a_test_error(tmp_path):
    run = make_run(tmp_path / "run")
    evaluation = {**(run.evaluation or {}), "split": "validation"}
    (run.path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "too small by an unknown amount" in found.text
    assert "test set was read once" not in found.text


def test_data_other_than_the_training_data_are_named(tmp_path):
    run = make_run(tmp_path / "run")
    evaluation = {**(run.evaluation or {}), "data": "mnist"}
    (run.path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "test error on mnist" in found.text


def test_many_classes_are_cut_to_the_worst_and_the_page_says_so(tmp_path):
    classes = [f"class {i}" for i in range(130)]
    run = make_run(tmp_path / "run", classes=classes, n=260, error=0.3)
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "of the 100 classes with the largest errors" in found.text
    assert len(found.charts()["run-0-confusion"]["data"][0]["z"]) == 100


def test_classes_without_images_are_named_but_not_drawn(tmp_path):
    run = make_run(tmp_path / "run", classes=FASHION, n=7)
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Classes without images in the test split" in found.text


def test_a_network_without_mistakes(tmp_path):
    run = make_run(tmp_path / "run")
    labels = np.arange(40) % 10
    found = {"split": "test", "data": "fashion-mnist", "mistakes": []}
    found |= classification_metrics(np.eye(10)[labels], labels, FASHION)
    (run.path / "evaluation.json").write_text(json.dumps(found), encoding="utf-8")
    page = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "test error 0.0 % 95 % interval 0.0 to 8.8 %" in page.text
    assert "All 40 images were predicted correctly." in page.text


def test_an_invalid_picture_is_left_out(tmp_path):
    run = make_run(tmp_path / "run")
    evaluation = run.evaluation or {}
    for mistake, png in zip(evaluation["mistakes"], ["no base64!", "aGVsbG8=", None], strict=False):
        mistake["png"] = png
    (run.path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    images = [attrs for tag, attrs in found.tags if tag == "img"]
    assert 0 < len(images) <= len(evaluation["mistakes"]) - 3


def test_bad_input_is_an_error(tmp_path):
    with pytest.raises(UserError, match="needs a run"):
        report.write([], tmp_path / "r.html")
    with pytest.raises(UserError, match="is a folder"):
        report.write([make_run(tmp_path / "run", evaluated=False)], tmp_path)


def test_any_object_with_the_attributes_of_a_run_will_do(tmp_path):
    run = make_run(tmp_path / "run", evaluated=False)
    other = SimpleNamespace(
        path=Path("elsewhere"),
        info=run.info,
        evaluation=None,
        suspects=None,
        network=run.network,
        log=list,
    )
    assert report.write([other], tmp_path / "r.html").exists()


def recipe_run(path: Path, steps: int, epochs: int = 4, **recipe: Any) -> Run:
    """A run with 30 steps an epoch that logged every 50 steps, and stopped after `steps`."""
    run = make_run(path, epochs=epochs, evaluated=False)
    run.info["recipe"] |= {"batch": 100, **recipe}
    run.info["data"]["counts"]["train"] = 3_050
    described = change(Recipe("run", epochs=1), run.info["recipe"])
    rates = described.rates(described.total_steps(30), 20)
    rows = [
        {"kind": "steps", "step": step, "epoch": step / 30, "loss": 1.0, "error": 0.5}
        for step in range(50, steps + 1, 50)
    ]
    rows += [
        {"kind": "epoch", "step": step, "epoch": step // 30, "train_loss": 1.0, "train_error": 0.5}
        for step in range(30, steps + 1, 30)
    ]
    text = "".join(json.dumps({**row, "rate": rates[row["step"] - 1]}) + "\n" for row in rows)
    (path / "log.jsonl").write_text(text, encoding="utf-8")
    return run


def rate_chart(run: Run, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    return found.text, found.charts()["curves-rate"]["data"][0]


def test_the_learning_rates_of_all_steps_follow_from_the_recipe(tmp_path):
    text, trace = rate_chart(recipe_run(tmp_path / "run", 120, peak=0.25), tmp_path)
    assert "Learning rate of every step, by the recipe" in text
    assert len(trace["x"]) == 120
    assert trace["y"][30] == max(trace["y"]) == 0.4  # the peak, between two logged steps
    assert trace["x"][30] == pytest.approx(31 / 30, abs=1e-4)
    assert trace["y"][0] == pytest.approx(0.016)  # the warm-up begins at 1/25


def test_the_learning_rates_of_a_stopped_run_end_where_it_ended(tmp_path):
    _, trace = rate_chart(recipe_run(tmp_path / "run", 60), tmp_path)
    assert trace["x"][-1] == 2


def test_rates_that_the_recipe_does_not_explain_are_those_of_the_log(tmp_path):
    """All logged rates are drawn, those of steps and of epochs."""
    run = recipe_run(tmp_path / "run", 120)
    run.info["recipe"]["rate"] = 0.3
    text, trace = rate_chart(run, tmp_path)
    assert "Learning rate as logged" in text
    assert trace["x"] == [1, 1.6667, 2, 3, 3.3333, 4]
    run = recipe_run(tmp_path / "plateau", 120, schedule="constant")
    run.info["recipe"]["schedule"] = "plateau"
    assert rate_chart(run, tmp_path)[1]["x"] == [1, 1.6667, 2, 3, 3.3333, 4]


def test_a_long_schedule_is_thinned_and_keeps_its_corners(tmp_path):
    run = recipe_run(tmp_path / "run", 3000, epochs=100, schedule="steps", drops=(0.5, 0.75))
    _, trace = rate_chart(run, tmp_path)
    assert len(trace["x"]) <= 600
    at = {round(x * 30): y for x, y in zip(trace["x"], trace["y"], strict=True)}
    assert (at[1500], at[1501]) == (0.4, pytest.approx(0.04))
    assert (at[2250], at[2251]) == (pytest.approx(0.04), pytest.approx(0.004))


def test_the_rates_of_a_real_run_are_those_of_its_recipe(trained, tmp_path):
    text, trace = rate_chart(trained, tmp_path)
    assert "Learning rate of every step, by the recipe" in text
    assert len(trace["x"]) == trained.log("epoch")[-1]["step"]


def test_one_epoch_is_a_table_and_not_a_trend(tmp_path):
    run = recipe_run(tmp_path / "run", 30, epochs=1)
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert set(found.charts()) == {"curves-rate"}
    opened = [attrs for tag, attrs in found.tags if tag == "details" and "open" in attrs]
    assert len(opened) == 1
    assert "One epoch is a single point: a table instead of a chart." in found.text


def test_files_can_be_read_without_a_pointer(tmp_path):
    """Long names are cut in the middle below a picture, and whole in the list."""
    run = make_run(tmp_path / "run")
    evaluation = run.evaluation or {}
    name = "IMG_20260312_101112_very_long_name_of_a_camera.jpeg"
    for mistake in evaluation["mistakes"]:
        mistake["file"] = f"{mistake['true']}/{name}"
    (run.path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "IMG_20260312_1…f_a_camera.jpeg" in found.text
    assert found.text.count(f"/{name} predicted as") == len(evaluation["mistakes"])


def suspects_of(run: Run, **last_part: Any) -> None:
    row = {"index": 3, "true": "Bag", "predicted": "Shirt", "confidence": 0.97, "png": None}
    stored = {
        "sure": 0.5,
        "parts": [
            {"split": "validation", "n": 60, "of": 60, "wrong": 0, "sure": 0},
            {"split": "train", "n": 512, "of": 54_000, "wrong": 7, "sure": 2, **last_part},
        ],
        "suspects": [{"split": "train", "file": "Bag/<b>.png", **row}],
    }
    (run.path / "suspects.json").write_text(json.dumps(stored), encoding="utf-8")


@pytest.mark.parametrize("evaluated", [True, False])
def test_possible_wrong_labels_are_listed(tmp_path, evaluated):
    run = make_run(tmp_path / "run", evaluated=evaluated)
    suspects_of(run)
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert found.text.count("Possible wrong labels") == 1
    assert (
        "7 of 512 labels of training images (a sample of 54,000), 2 of them with more than 50 %"
        in (found.text)
    )
    assert "labelled Bag , predicted Shirt (97.0 %) Bag/<b>.png training" in found.text
    assert "The files are in fashion-mnist" in found.text
    assert "1 more contradiction, less sure, is not shown." in found.text
    assert "most of these are its own mistakes" not in found.text
    suspects_of(run, wrong=300)
    found = Reader(report.write([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "most of these are its own mistakes" in found.text


def test_a_run_without_suspects_has_no_such_section(one):
    assert "Possible wrong labels" not in one.text


def test_names_of_compared_runs_are_whole_and_the_axis_has_the_intervals(tmp_path):
    long = "resnet20-fashion-mnist-with-a-name-that-is-longer-than-a-label"
    runs = [make_run(tmp_path / f"{long}-{i}", n=10_000, seed=i) for i in range(2)]
    found = Reader(report.write(runs, tmp_path / "r.html").read_text(encoding="utf-8"))
    chart = found.charts()["test-errors"]["layout"]
    assert [note["text"] for note in chart["annotations"]] == [f"{long}-0", f"{long}-1"]
    errors = [(run.evaluation or {})["top1_error"] for run in runs]
    low, high = chart["xaxis"]["range"]
    assert 0 < low < 100 * min(error["low"] for error in errors) < low + 0.1 * (high - low)
    assert high > 100 * max(error["high"] for error in errors) > high - 0.1 * (high - low)
    assert "the axis does not begin at 0" in found.text
    assert "2 runs side by side" in found.text
    evaluation = {**(runs[1].evaluation or {}), "top1_error": {"value": 0, "low": 0, "high": 0.01}}
    (runs[1].path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    found = Reader(report.write(runs, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert found.charts()["test-errors"]["layout"]["xaxis"]["range"][0] == 0
    assert "the axis does not begin at 0" not in found.text


def test_no_line_joins_the_bins_of_the_reliability_diagram(one):
    _, bins = one.charts()["run-0-reliability"]["data"]
    assert bins["mode"] == "markers"
    reach = zip(bins["error_y"]["array"], bins["error_y"]["arrayminus"], strict=True)
    assert all(up + down > 0 for up, down in reach)
    for n, colour in zip(bins["customdata"], bins["marker"]["color"], strict=True):
        assert colour == ("--page" if n < 10 else "--run-0")


def test_training_by_steps_is_visible_in_both_schemes(one):
    """Its contrast with the page is at least 3 to 1, as WCAG 2.2 (1.4.11) asks for graphics."""
    steps = next(
        t for t in one.charts()["curves-error"]["data"] if t.get("name") == "training, by steps"
    )
    assert "training, by steps" in one.text
    style = (report.TEMPLATES / "style.css").read_text(encoding="utf-8")
    lines, pages = (re.findall(rf"--{name}: (#\w{{6}})", style) for name in ("run-0", "page"))
    assert len(lines) == len(pages) == 2
    for line, page in zip(lines, pages, strict=True):
        mixed = steps["opacity"] * rgb(line) + (1 - steps["opacity"]) * rgb(page)
        light, dark = sorted((luminance(mixed), luminance(rgb(page))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def luminance(colour: np.ndarray) -> float:
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
