"""The pages of studies and the deck's in a real browser, from the studies in docs/results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from reslab.report import sections as page
from reslab.studies.explain.page import explain
from reslab.studies.folder import Study
from reslab.studies.registry import sections
from tests.helpers.chromium import Chromium
from tests.report.test_browser import DRAWN, WIDTHS

RESULTS = Path(__file__).parents[2] / "docs" / "results"
KEPT = sorted(file.parent.name for file in RESULTS.glob("*/study.json"))
# Charts with nothing in them that takes up room; what WebGL draws is on a canvas
MARKS = ".overplot path, .overplot image, .barlayer path, .gl-container canvas"
EMPTY = f"""[...document.querySelectorAll('.chart')].filter((chart) =>
  ![...chart.querySelectorAll('{MARKS}')].some(
    (mark) => mark.getBoundingClientRect().width > 1)).map((chart) => chart.id)"""


def _of_the_driver(said: Any) -> bool:
    """On WebGL without a GPU."""
    return isinstance(said, dict) and said.get("source") == "rendering"


def quiet(browser: Chromium, file: Path) -> None:
    """Drawn whole at two widths, with no word in the console and nothing asked for."""
    for width in (400, 1400):
        browser.resize(width)
        browser.open(file)
        browser.until(DRAWN, 60)
        assert browser.run(EMPTY) == []
        scroll, inner = browser.run(WIDTHS)
        assert scroll <= inner == width
        said = [json.loads(error) for error in browser.errors()]
        assert [each for each in said if not _of_the_driver(each)] == []
        assert {urlsplit(address).scheme for address in browser.requests()} <= {"file", "data"}


@pytest.mark.parametrize("name", KEPT)
def test_a_study_s_page(browser: Chromium, name: str, tmp_path: Path) -> None:
    study = Study.open(RESULTS / name)
    quiet(browser, page.write(tmp_path / "page.html", name, "", sections(study)))


def test_the_page_of_the_deck(browser: Chromium, tmp_path: Path) -> None:
    quiet(browser, explain([RESULTS], tmp_path / "explain.html"))
