"""The pages of the studies in docs/results, and the explain page, in a real browser."""

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
from tests.helpers.browser import DRAWN, WIDTHS
from tests.helpers.chromium import Chromium

RESULTS = Path(__file__).parents[2] / "docs" / "results"
KEPT = sorted(file.parent.name for file in RESULTS.glob("*/study.json"))
# Charts that draw nothing visible; WebGL draws on a canvas
MARKS = ".overplot path, .overplot image, .barlayer path, .gl-container canvas"
EMPTY = f"""[...document.querySelectorAll('.chart')].filter((chart) =>
  ![...chart.querySelectorAll('{MARKS}')].some(
    (mark) => mark.getBoundingClientRect().width > 1)).map((chart) => chart.id)"""


def _is_from_driver(message: Any) -> bool:
    """Whether it is a message about WebGL without a GPU."""
    return isinstance(message, dict) and message.get("source") == "rendering"


def quiet(browser: Chromium, file: Path) -> None:
    """Check that a page is drawn at two widths without console messages or requests."""
    for width in (400, 1400):
        browser.resize(width)
        browser.open(file)
        browser.until(DRAWN, 60)
        assert browser.run(EMPTY) == []
        scroll, inner = browser.run(WIDTHS)
        assert scroll <= inner == width
        messages = [json.loads(error) for error in browser.errors()]
        assert [each for each in messages if not _is_from_driver(each)] == []
        assert {urlsplit(address).scheme for address in browser.requests()} <= {"file", "data"}


@pytest.mark.parametrize("name", KEPT)
def test_the_page_of_a_study(browser: Chromium, name: str, tmp_path: Path) -> None:
    study = Study.open(RESULTS / name)
    quiet(browser, page.write(tmp_path / "page.html", name, "", sections(study)))


def test_the_explain_page(browser: Chromium, tmp_path: Path) -> None:
    quiet(browser, explain([RESULTS], tmp_path / "explain.html"))
