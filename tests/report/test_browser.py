"""The report in a real browser: drawn, without messages, offline, as wide as the window."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reslab.report import page
from tests.helpers.browser import DRAWN, WIDTHS
from tests.helpers.chromium import Chromium
from tests.helpers.runs import CHARACTERS, make_run

# The number of visible lines, dots and heat maps of each chart.
MARKS = """Object.fromEntries([...document.querySelectorAll('.chart')].map((chart) => [chart.id,
  [...chart.querySelectorAll('.overplot path, .overplot image')].filter(
    (mark) => mark.getBoundingClientRect().width > 1).length]))"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    nasty = ["</script><script>document.title='pwned'</script>", "<b>bold</b>", "--run-0", "a" * 90]
    one = make_run(folder / "one", classes=[*nasty, *"bcdefg"], n=400, error=0.3)
    two = [
        make_run(folder / "printed", "characters_printed", "glyphs", CHARACTERS, error=0.3, n=620),
        make_run(folder / "twin", "characters", "glyphs", CHARACTERS, error=0.15, n=620, seed=1),
    ]
    failed = make_run(folder / "failed", epochs=1, status="failed", evaluated=False)
    return {
        "one": page.write([one], folder / "one.html"),
        "two": page.write(two, folder / "two.html"),
        "failed": page.write([failed], folder / "failed.html"),
    }


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", ["one", "two", "failed"])
def test_every_chart_is_drawn_and_nothing_else_happens(
    browser: Chromium, pages: dict[str, Path], name: str, width: int
):
    browser.resize(width)
    browser.open(pages[name])
    browser.until(DRAWN)
    marks = browser.run(MARKS)
    assert len(marks) == {"one": 6, "two": 10, "failed": 3}[name]
    assert all(marks.values()), marks
    scroll, inner = browser.run(WIDTHS)
    assert scroll <= inner == width
    assert browser.errors() == []
    assert {urlsplit(address).scheme for address in browser.requests()} <= {"file", "data"}
    files = [a for a in browser.requests() if a.startswith("file:")]
    assert files == [pages[name].resolve().as_uri()]


def test_names_of_classes_are_drawn_as_they_are(browser: Chromium, pages: dict[str, Path]):
    browser.resize(1400)
    browser.open(pages["one"])
    browser.until(DRAWN)
    ticks = browser.run(
        "[...document.querySelectorAll('#run-0-classes .ytick text')].map((t) => t.textContent)"
    )
    assert {"<b>bold</b>", "--run-0", "a" * 25 + "…"} <= set(ticks)
    assert browser.run("document.title") == "resnet20 on fashion-mnist"
    hovered = browser.run(
        "(Plotly.Fx.hover('run-0-confusion', {xval: 1, yval: 1}, 'xy'),"
        " document.querySelector('#run-0-confusion .hoverlayer').textContent)"
    )
    assert "true <b>bold</b>, predicted <b>bold</b>" in hovered


def test_the_charts_follow_the_colour_scheme_and_print(browser: Chromium, pages: dict[str, Path]):
    line = (
        "getComputedStyle(document.querySelector('#curves-error .js-line[style*=\"3px\"]')).stroke"
    )
    seen = {}
    browser.resize(1400)
    for scheme in ("light", "dark"):
        browser.media(scheme=scheme)
        browser.open(pages["one"])
        browser.until(DRAWN)
        seen[scheme] = browser.run(BACKGROUND), browser.run(line)
    assert seen["light"][0] == "rgb(255, 255, 255)"
    assert seen["dark"][0] != seen["light"][0]
    assert seen["dark"][1] != seen["light"][1]

    browser.media("print", scheme="dark")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.until(f"{line} === '{seen['light'][1]}'")
    assert browser.run(BACKGROUND) == "rgb(255, 255, 255)"
    widest = "Math.max(...[...document.querySelectorAll('.main-svg')].map((s) => s.clientWidth))"
    assert browser.run(widest) <= 688  # A4 less its margins
    browser.media(scheme="dark")
    browser.run("dispatchEvent(new Event('afterprint'))")
    browser.until(f"{line} === '{seen['dark'][1]}' && {widest} > 688")
    browser.media()
    assert browser.errors() == []


def test_a_request_from_the_page_is_refused(browser: Chromium, pages: dict[str, Path]):
    browser.open(pages["failed"])
    browser.until(DRAWN)
    refused = browser.run("fetch('http://localhost:9/').then(() => false, () => true)")
    assert refused
    assert any("Content Security Policy" in error for error in browser.errors())
