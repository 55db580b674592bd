"""Run commands of the command line in this process, and write folders of pictures for them."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from reslab.cli.main import main
from reslab.core.locks import LOCK_FILE
from tests.helpers import tiny


@dataclass(frozen=True)
class Answer:
    """The exit code and the printed texts of a command."""

    code: int
    out: str
    err: str


def invoke(*words: object, stdin: str = "") -> Answer:
    """Run `reslab WORDS` with this text as its standard input."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
    ):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


def output_of(*words: object, stdin: str = "") -> str:
    """Run a command that must succeed. Returns what it prints."""
    answer = invoke(*words, stdin=stdin)
    assert answer.code == 0, answer.err
    return answer.out


def error_of(*words: object, stdin: str = "") -> str:
    """Run a command that must fail at once: exit code 2 and one line, which is returned.

    No file in the current folder may change: one of the test, for tests run side by side.
    """
    assert not Path("pyproject.toml").exists(), "this test needs a folder of its own: see `apart`"
    before = snapshot()
    answer = invoke(*words, stdin=stdin)
    assert answer.code == 2, answer
    assert answer.out == ""
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("reslab: ")
    assert snapshot() == before
    return lines[0]


def snapshot(root: Path | None = None) -> dict[str, bytes | None]:
    """Return the contents of all files below a folder (the current one), and None for folders.

    Locks are left out: they stay, and say nothing.
    """
    root = root or Path.cwd()
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if path.name != LOCK_FILE
    }


def pictures(at: Path, classes: Sequence[str] = ("left", "middle", "right"), each: int = 8) -> Path:
    """Write class folders of 12x12 PNGs. A bright third of each image marks its class."""
    images, labels = tiny.images(each * tiny.CLASSES, seed=2)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        if label < len(classes):
            folder = at / classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.pad(image, 2)).save(folder / f"{i:03d}.png")
    return at
