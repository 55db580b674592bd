"""Run the code blocks of a documentation page with a small data set.

HTML comments in the page, which its readers do not see, control the tests:

    <!-- test: slow -->                            the page runs only with `scripts/test --all`
    <!-- test: skip, because REASON -->            the next block is not run
    <!-- test: write NAME -->                      the next block becomes the file NAME
    <!-- test: replace "A" with "B" -->            from here on, in every block of the page
    <!-- test: run COMMAND -->                     a line of shell that readers do not need

Blocks of `sh` and `python` run in order, in one folder per page. Other blocks are not run. Every
page uses the data of `make_data`: `fashion-mnist` in the text becomes the small data set `small`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers import tiny

ROOT = Path(__file__).parents[2]
REPLACED = {"fashion-mnist": "small"}
CLASSES = "bicycle", "boat", "bus"

_COMMENT = re.compile(r"^<!-- test: (.+?) -->$")
_FENCE = re.compile(r"^( *)```(\w*)")
_REPLACE = re.compile(r'^replace "(.*)" with "(.*)"$')


@dataclass(frozen=True)
class Block:
    """`language` is "sh" or "python", or "file" for the content of the file `name`."""

    language: str
    text: str
    line: int
    name: str = ""


def is_slow(page: Path) -> bool:
    """Tell whether a page is marked as slow."""
    return "<!-- test: slow -->" in page.read_text(encoding="utf-8")


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks to run. Raises ValueError for an unknown comment."""
    replaced = dict(REPLACED)
    note = ""
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
    for number, line in lines:
        if comment := _COMMENT.match(line):
            text = comment[1]
            if pair := _REPLACE.match(text):
                replaced[pair[1]] = pair[2]
            elif text.startswith("run "):
                yield Block("sh", _replace(text.removeprefix("run "), replaced), number)
            elif text.startswith(("skip, because ", "write ")):
                note = text
            elif text != "slow":
                raise ValueError(f"{page.name}:{number}: unknown comment {line}")
        elif fence := _FENCE.match(line):
            indent, language = fence.groups()
            inner: list[str] = []
            for _, code in lines:
                if code.strip() == "```":
                    break
                inner.append(code.removeprefix(indent))
            text = _replace("\n".join(inner), replaced)
            if note.startswith("write "):
                yield Block("file", text, number, note.removeprefix("write "))
            elif language in ("sh", "python") and not note:
                yield Block(language, text, number)
            note = ""


def _replace(text: str, replaced: dict[str, str]) -> str:
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


def run(page: Path) -> None:
    """Run the blocks of the page in the current folder; a failure names the line of its block."""
    variables: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.language == "file":
            Path(block.name).write_text(block.text + "\n", encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, where, "exec"), variables)
        else:
            for command in commands(block.text):
                _run_command(command, where)


def commands(text: str) -> list[str]:
    """Return the commands of a shell block, without comments. A backslash continues a line."""
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    lines = (re.sub(r"(^|\s+)# .*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


_RESLAB = re.compile(r"^reslab ([^|<>&;$*]+?)(?: > ([\w./-]+))?$")
_PYTHON = re.compile(r'^python -c "([^"]+)"$')


def _run_command(command: str, where: str) -> None:
    """Run `reslab ...` and `python -c ...` in this process, where Keras is loaded; else a shell."""
    if match := _RESLAB.match(command):
        output = io.StringIO()
        with contextlib.redirect_stdout(output) if match[2] else contextlib.nullcontext():
            code = _run_reslab(shlex.split(match[1]))
        if match[2]:
            Path(match[2]).write_text(output.getvalue(), encoding="utf-8")
        if code:
            raise AssertionError(f"{where}: {command}: exit code {code}")
    elif match := _PYTHON.match(command):
        exec(match[1], {})
    else:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{where}: {command}: {done.stdout}{done.stderr}"


def _run_reslab(arguments: list[str]) -> int | str | None:
    from reslab.cli.main import main

    try:
        main(arguments)
    except SystemExit as end:
        return end.code
    return 0


def make_data(folder: Path) -> None:
    """Make the files that the pages use: photos by class, photos without one, a small data set.

    `photos/` has three classes of 24 pictures, which differ by colour; `new-photos/` and
    `photo.jpg` are pictures of no known class; `small/` are IDX files; `tags.csv` is a table of the
    pictures in `images/` with several labels.
    """
    tiny.folder(folder / "small", train=96, test=24)
    rng = np.random.default_rng(0)
    for i in range(24 * len(CLASSES)):
        class_folder = folder / "photos" / CLASSES[i % len(CLASSES)]
        class_folder.mkdir(parents=True, exist_ok=True)
        _picture(rng, i % len(CLASSES)).save(class_folder / f"{i:03d}.jpg")
    (folder / "new-photos").mkdir()
    for i in range(4):
        _picture(rng, i % len(CLASSES)).save(folder / "new-photos" / f"{i}.jpg")
    _picture(rng, 0).save(folder / "photo.jpg")
    _make_tags(folder)


def _make_tags(folder: Path) -> None:
    """A table of pictures whose labels are their bright colours."""
    rng = np.random.default_rng(1)
    (folder / "images").mkdir()
    rows = ["image,tags"]
    for i in range(60):
        bright = rng.integers(0, 2, 3)
        pixels = rng.integers(0, 100, (24, 24, 3)) + 120 * bright
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{i:03d}.png")
        names = [name for name, on in zip(("red", "green", "blue"), bright, strict=True) if on]
        rows.append(f"{i:03d},{'|'.join(names)}")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _picture(rng: np.random.Generator, colour: int) -> Image.Image:
    pixels = rng.integers(0, 100, (48, 64, 3))
    pixels[..., colour] += 120
    return Image.fromarray(pixels.astype(np.uint8))


def make_command(folder: Path) -> Path:
    """Make a folder for PATH with the commands `reslab` and `python` of this checkout."""
    scripts = folder / "bin"
    scripts.mkdir()
    for name, arguments in {"reslab": " -m reslab", "python": ""}.items():
        script = scripts / name
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        script.write_text(
            f"#!/bin/sh\nPYTHONPATH={shlex.quote(path)} exec {shlex.quote(sys.executable)}"
            f'{arguments} "$@"\n'
        )
        script.chmod(0o755)
    return scripts
