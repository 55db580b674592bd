"""The command line, asked as a person asks it, in this process; and folders of pictures for it."""

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
from tests.helpers import tiny


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


def ask(*words: object, stdin: str = "") -> Answer:
    """`reslab WORDS`."""
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


def told(*words: object, stdin: str = "") -> str:
    """What a command that succeeds prints."""
    answer = ask(*words, stdin=stdin)
    assert answer.code == 0, answer.err
    return answer.out


def refused(*words: object, stdin: str = "") -> str:
    """The one line that a command says which cannot begin; all files here stay as they were."""
    before = snapshot()
    answer = ask(*words, stdin=stdin)
    assert answer.code == 2, answer
    assert answer.out == ""
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("reslab: ")
    assert snapshot() == before
    return lines[0]


def snapshot(at: Path | None = None) -> dict[str, bytes | None]:
    """Everything below a folder (the current one): what files hold, None for folders."""
    at = at or Path.cwd()
    return {
        path.relative_to(at).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(at.rglob("*"))
    }


def pictures(at: Path, classes: Sequence[str] = ("left", "middle", "right"), each: int = 8) -> Path:
    """Class folders of 12x12 PNGs, with a bright third that says which class."""
    images, labels = tiny.images(each * tiny.CLASSES, seed=2)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        if label < len(classes):
            folder = at / classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.pad(image, 2)).save(folder / f"{i:03d}.png")
    return at
