"""What users and developers read has the field's terms, not the private words that it once had."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reslab

CHECKOUT = Path(reslab.__file__).parents[1]
FOLDERS = "reslab", "tests", "bench", "docs", "scripts"
ENDINGS = {".py", ".pyi", ".md", ".html", ".js", ".css", ".toml", ".yml", ".ipynb", ""}
STRETCH = r"\bstretch(es)?\b"
WORDS = {  # pattern: what to write instead
    r"the way (there|back)": "forward pass, backward pass",
    r"comput\w+ anew": "recompute",
    r"\banew\b": "again",
    r"\bafresh\b": "initialise, re-initialise",
    r"\bstands? still\b": "frozen",
    r"\bso-manieth\b": "every k-th",
    r"\bnought\b": "zero",
    r"\bjudg\w+": "evaluate, evaluation, metrics",
    r"standardis\w+": "normalise",
    r"\bwhence\b": "from where",
    STRETCH: "compiled segment",
}
# The recipe's field "standardise" and its file are formats: they keep the name.
FORMATS = re.compile(
    r"""["'`./ ]standardise["'`=.,:)]|\bstandardise: |--set standardise|standardise = \""""
)


def files() -> list[Path]:
    here = Path(__file__)
    found = [path for path in CHECKOUT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += (path for path in (CHECKOUT / folder).rglob("*") if path.is_file())
    skipped = {"__pycache__", "results", "golden"}
    return sorted(
        path
        for path in found
        if path.suffix in ENDINGS and path != here and not skipped & set(path.parts)
    )


def test_there_are_files_to_read() -> None:
    names = {path.name for path in files()}
    assert {"README.md", "CHANGELOG.md", "parts.py", "run.html", "test"} <= names


@pytest.mark.parametrize("pattern", WORDS, ids=lambda p: re.sub(r"\W+", "-", p).strip("-"))
def test_plain_words(pattern: str) -> None:
    uses = []
    for path in files():
        if pattern == STRETCH and "glyphs" in path.name:
            continue  # there it is what is done to a letter
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            if re.search(pattern, FORMATS.sub("", line), re.IGNORECASE):
                uses.append(f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()[:100]}")
    assert not uses, f"write {WORDS[pattern]!r}:\n" + "\n".join(uses)
