"""The site builds without a warning, needs no other server, and has no broken link."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import reslab
from tests.helpers.chromium import Chromium

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None and not os.environ.get("CI"),
    reason="mkdocs is not installed: scripts/install docs",
)


class Page(HTMLParser):
    """The ids of a page, its links, and the addresses that a browser loads by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attributes if value is not None}
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") != "canonical" and "href" in values:
            self.loaded.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    for command in (
        [sys.executable, "docs/pages.py"],
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)],
    ):
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_no_page_loads_anything_from_another_server(pages: dict[Path, Page], site: Path) -> None:
    for path, page in pages.items():
        for address in page.loaded:
            assert not urlsplit(address).netloc, f"{path.name} loads {address}"
    for sheet in site.rglob("*.css"):
        assert "url(http" not in sheet.read_text(encoding="utf-8"), sheet


def test_every_internal_link_has_its_page_and_its_anchor(
    pages: dict[Path, Page], site: Path
) -> None:
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for address in (*page.links, *page.loaded):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.relative_to(site)}: {address}"
            if parts.fragment and target in pages and parts.fragment != "__skip":
                anchor = unquote(parts.fragment)
                assert anchor in pages[target].ids, f"{path.relative_to(site)}: {address}"


def public_names() -> Iterator[tuple[str, str]]:
    """Every public function and class, with the page of the reference that it belongs to."""
    modules = {name: getattr(reslab, name) for name in ("data", "draw", "spec", "weights")}
    for name in reslab.__all__:
        if name not in (*modules, "transforms", "__version__"):
            yield f"reslab.{name}", "python.html"
    for name, module in modules.items():
        for inner in module.__all__:
            yield f"reslab.{name}.{inner}", f"{name}.html"


def test_the_reference_has_every_public_name(pages: dict[Path, Page], site: Path) -> None:
    for name, page in public_names():
        assert name in pages[site / "reference" / page].ids, f"{page} lacks {name}"


def test_every_command_is_in_the_reference(pages: dict[Path, Page], site: Path) -> None:
    from reslab.cli.main import cli

    ids = pages[site / "reference" / "commands.html"].ids
    assert {f"reslab-{name}" for name in cli.commands} <= ids


def test_pages_fit_a_phone_and_load_files_only(
    browser: Chromium, pages: dict[Path, Page], site: Path
) -> None:
    browser.media(scheme="light")
    browser.resize(390)
    for path in pages:
        if path.name == "404.html":
            continue
        browser.open(path)
        name = path.relative_to(site)
        assert browser.errors() == [], name
        assert all(url.startswith(("file:", "data:", "blob:")) for url in browser.requests()), name
        assert browser.run("document.documentElement.scrollWidth") <= 390, name


@pytest.mark.parametrize(("scheme", "bright"), [("light", True), ("dark", False)])
def test_the_colours_follow_the_system(
    browser: Chromium, site: Path, scheme: str, bright: bool
) -> None:
    browser.media(scheme=scheme)
    browser.resize(1280)
    browser.open(site / "quick-start.html")
    browser.run("localStorage.clear()")
    browser.open(site / "index.html")
    colour = browser.run("getComputedStyle(document.body).backgroundColor")
    red = int(colour.partition("(")[2].split(",")[0])
    assert (red > 128) == bright, colour
