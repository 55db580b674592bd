"""What may be in the place of a file: a pipe, a device, a folder, a link that leads nowhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

KINDS = "pipe", "device", "folder", "broken link", "loop", "link", "nothing", "no bytes"


def put(path: Path, kind: str) -> None:
    """Put something of this kind in the place of a file."""
    if kind == "link":
        path.rename(beside(path))
        path.symlink_to(beside(path))
        return
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "broken link":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "no bytes":
        path.touch()


def remove(path: Path) -> None:
    """Remove what `put` has put there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    beside(path).unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """The file to which a link leads."""
    return path.with_name(f"{path.stem}-elsewhere{path.suffix}")
