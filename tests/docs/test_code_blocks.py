"""Every code block of README and of the site's pages runs, on small data.

`tests.helpers.pages` has the rules: how a page marks a block that is not run, and why.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.helpers import pages

DOCS = pages.ROOT / "docs"
GENERATED = "reference", "results", "notebooks"
PAGES = [
    pages.ROOT / "README.md",
    *(
        path
        for path in sorted(DOCS.rglob("*.md"))
        if path.relative_to(DOCS).parts[0] not in GENERATED
    ),
]


@pytest.mark.skipif(sys.platform == "win32", reason="the blocks are for a POSIX shell")
@pytest.mark.filterwarnings("default")  # readers do not turn warnings into errors
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            path,
            id=path.relative_to(pages.ROOT).as_posix(),
            marks=[pytest.mark.slow] if pages.is_slow(path) else [],
        )
        for path in PAGES
        if any(pages.blocks(path))
    ],
)
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    pages.make_data(here)
    command = pages.make_command(tmp_path)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", f"{command}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("RESLAB_OFFLINE", "1")
    monkeypatch.setenv("RESLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [str(here), *sys.path])  # for modules that a page writes
    pages.run(page)


def test_the_rules_are_understood(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '<!-- test: replace "50" with "18" -->\n'
        "```sh\nreslab show resnet50 \\\n  --json # a comment\n```\n"
        "<!-- test: skip, because it needs a GPU -->\n```python\nraise SystemExit\n```\n"
        "<!-- test: write mine.toml -->\n```toml\nbase = 1\n```\n"
        "```text\nno code\n```\n"
        "<!-- test: run ls -->\n"
        "1. A list:\n\n    ```python\n    x = 1\n    ```\n",
        encoding="utf-8",
    )
    shell, file, hidden, python = pages.blocks(page)
    assert pages.commands(shell.text) == ["reslab show resnet18 --json"]
    assert (file.language, file.name, file.text) == ("file", "mine.toml", "base = 1")
    assert pages.commands(hidden.text) == ["ls"]
    assert (python.language, python.text, python.line) == ("python", "x = 1", 20)


def test_a_comment_that_is_not_understood_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- test: skip -->\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.md:1"):
        list(pages.blocks(page))
