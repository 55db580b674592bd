"""A picture that was replaced within the same size and time of modification is read again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reslab import data


def _overwrite(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)


def _rename(path: Path, content: bytes) -> None:
    """As rsync and git do: a new file takes the place of the old one."""
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("change", [_overwrite, _rename])
def test_it_is_noticed(change: Callable[[Path, bytes], None], tmp_path: Path) -> None:
    root = tmp_path / "d"
    for name in "ab":
        (root / name).mkdir(parents=True)
        for i in range(12):
            grey = 9 * i + (name == "b")
            Image.fromarray(np.full((8, 8, 3), grey, "uint8")).save(root / name / f"{i}.bmp")

    def checksum() -> str:
        return data.load(root, size=8, validation=3, test=3, cache=tmp_path / "cache").checksum

    before, picture = checksum(), root / "a" / "0.bmp"
    stat, content = picture.stat(), picture.read_bytes()
    change(picture, content[:-3] + bytes([255]) + content[-2:])
    os.utime(picture, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert checksum() != before
    change(picture, content)
    os.utime(picture, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert checksum() == before
