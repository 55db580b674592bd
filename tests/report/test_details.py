"""What a report shows of single images: examples, the map, wrong labels, near-duplicates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reslab.core.errors import UserError
from reslab.report import page
from reslab.runs.run import Run
from tests.helpers.browser import DRAWN, WIDTHS
from tests.helpers.chromium import Chromium
from tests.helpers.runs import CHARACTERS, add_details, make_run

NASTY = ["</script><b>x</b>", '"><img src=x>', "&amp;%{x}", "plain"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return add_details(make_run(tmp_path_factory.mktemp("runs") / "one"), files=True)


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    return page.write([run], run.path / "report.html").read_text(encoding="utf-8")


def test_a_report_shows_the_images(html: str, run: Run) -> None:
    assert "Typical and doubtful images" in html
    assert "(of 120 of 240 images)" in html
    assert "Map of the images" in html
    assert "lists 5 of 120 test images" in html
    assert "14 of 120 test images (a sample of 600) look like one of 50 training" in html
    assert "1 of them with another label" in html
    assert "13 more pairs are not shown" in html
    evaluation = run.evaluation
    assert evaluation is not None
    value = evaluation["temperature"]["value"]
    assert f"<b>{value:.3g}</b> was fitted on 120 validation images" in html
    assert f"reslab export {run.path} --temperature" in html
    for each in evaluation["examples"]["classes"]:
        assert all(row["file"].split("/")[1] in html for row in each["doubtful"])


def test_equal_evaluations_give_equal_pages(html: str, run: Run, tmp_path: Path) -> None:
    again = page.write([Run.open(run.path)], tmp_path / "again.html").read_text(encoding="utf-8")
    assert again == html


def test_a_page_of_several_runs_leaves_the_images_out(run: Run, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", seed=1)
    html = page.write([run, other], tmp_path / "two.html").read_text(encoding="utf-8")
    for title in ("Typical and doubtful", "Map of the images", "look like training images"):
        assert title not in html
    assert "After temperature scaling" in html
    assert "lists 5 of 120 test images" in html


def test_a_run_without_them_says_how_to_find_wrong_labels(tmp_path: Path) -> None:
    old = make_run(tmp_path / "old")
    parts = [{"split": "train", "n": 100, "of": 100, "wrong": 2, "sure": 0}]
    stored = {"sure": 0.5, "parts": parts, "suspects": []}
    (old.path / "suspects.json").write_text(json.dumps(stored), encoding="utf-8")
    html = page.write([old], tmp_path / "old.html").read_text(encoding="utf-8")
    assert "pip install &#34;reslab[labels]&#34;" in html
    assert "The model contradicts 2 of 100 labels of training images" in html
    assert "Typical and doubtful" not in html
    assert "Map of the images" not in html


def test_the_validation_images_are_in_one_list_only(run: Run, tmp_path: Path) -> None:
    copy = add_details(make_run(tmp_path / "copy"))
    path = copy.path / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    likely: list[Any] = evaluation["suspects"]["parts"]
    likely.append({"split": "validation", "n": 10, "of": 40, "wrong": 1, "sure": 1})
    path.write_text(json.dumps(evaluation), encoding="utf-8")
    parts = [
        {"split": name, "n": 77, "of": 77, "wrong": 2, "sure": 0}
        for name in ("validation", "train")
    ]
    stored = {"sure": 0.5, "parts": parts, "suspects": []}
    (copy.path / "suspects.json").write_text(json.dumps(stored), encoding="utf-8")
    html = page.write([copy], tmp_path / "copy.html").read_text(encoding="utf-8")
    assert "lists 5 of 120 test images and 1 of 10 validation images (a sample of 40)" in html
    assert "The model contradicts 2 of 77 labels of training images" in html
    assert "labels of validation images" not in html


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("map", {"index": [1]}, "damaged"),
        ("temperature", {"value": -1, "images": 3, "mistakes": 0}, "damaged"),
        ("temperature", {"value": 1.5, "images": 3, "mistakes": 9}, "damaged"),
        ("examples", {"images": 1, "of": 2, "classes": [{"class": 1}]}, "damaged"),
        ("suspects", {"parts": 3}, "damaged"),
        ("near_duplicates", {"count": "many"}, "damaged"),
    ],
)
def test_damaged_entries_are_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    broken = make_run(tmp_path / "broken")
    path = broken.path / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**evaluation, key: value}), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        page.write([broken], tmp_path / "broken.html")


def test_a_map_of_other_lengths_is_refused(tmp_path: Path) -> None:
    broken = add_details(make_run(tmp_path / "broken"))
    path = broken.path / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    evaluation["map"]["charts"][0]["x"].pop()
    path.write_text(json.dumps(evaluation), encoding="utf-8")
    with pytest.raises(UserError, match="'map' does not have 120 values"):
        page.write([broken], tmp_path / "broken.html")
    evaluation["map"]["charts"] = []
    evaluation["map"]["true"][0] = 10
    path.write_text(json.dumps(evaluation), encoding="utf-8")
    with pytest.raises(UserError, match="names more than 10 classes"):
        page.write([broken], tmp_path / "broken.html")


@pytest.mark.parametrize("width", [400, 1400])
def test_the_images_of_the_map_appear_on_a_click(
    browser: Chromium, tmp_path: Path, width: int
) -> None:
    nasty = add_details(make_run(tmp_path / "nasty", classes=[*NASTY, *"bcdefg"]), files=True)
    browser.resize(width)
    browser.open(page.write([nasty], tmp_path / "report.html"))
    browser.until(DRAWN)
    scroll, inner = browser.run(WIDTHS)
    assert scroll <= inner == width
    position = "document.querySelector('.look-picture').style.backgroundPosition"
    text = "document.querySelector('.look-text').textContent"
    assert browser.run(position) == ""
    press = "[...document.querySelectorAll('.look button')][{}].click()"
    shown = []
    for _ in range(3):
        browser.run(press.format(1))
        shown.append((browser.run(text), browser.run(position)))
    assert len(set(shown)) == 3
    assert all("predicted as" in line for line, _ in shown)
    browser.run(press.format(0))
    assert (browser.run(text), browser.run(position)) == shown[1]
    x, y = browser.run(
        """(() => { const place = document.querySelector('#run-0-map0');
        place.scrollIntoView();
        const [box, { xaxis, yaxis }] = [place.getBoundingClientRect(), place._fullLayout];
        const { x, y } = place.data[0];
        return [box.x + xaxis._offset + xaxis.l2p(x[0]), box.y + yaxis._offset + yaxis.l2p(y[0])];
        })()"""
    )
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x + 1, y=y + 1)
    browser.until(f"{text}.startsWith({json.dumps(NASTY[0])})")
    assert browser.run("document.querySelectorAll('.look b').length") == 0
    assert browser.errors() == []


def test_many_classes_are_folded(tmp_path: Path) -> None:
    many = add_details(make_run(tmp_path / "many", classes=CHARACTERS, n=620), images=248)
    html = page.write([many], tmp_path / "many.html").read_text(encoding="utf-8")
    assert "28 more classes" in html
    assert "22 classes with smaller errors have no pictures here" in html
    assert "Colours are classes, and repeat" in html
