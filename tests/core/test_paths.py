"""A path that leads to no regular file is refused by every reader before it is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reslab import data
from reslab.core import records
from reslab.core.errors import UserError
from reslab.core.files import read_arrays
from reslab.core.paths import regular
from reslab.data.sources import idx
from reslab.models import saved
from reslab.runs import papers
from reslab.studies.landscape.point_log import Points
from reslab.weights import files as weight_files

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes as files")

READERS: list[tuple[str, Callable[[Path], Any]]] = [
    ("a.json", records.read_json),
    ("a.safetensors", read_arrays),
    ("w.safetensors", weight_files.read),
    ("w.pth", weight_files.read),
    ("w.h5", weight_files.read),
    ("w.keras", weight_files.read),
    ("w.safetensors.index.json", weight_files.read),
    ("card.keras", saved.read_card),
    ("model.keras", saved.load),
    ("model.h5", saved.load),
    ("recipe.toml", papers.recipe),
    ("table.csv", data.load),
    ("table.parquet", data.load),
    ("train-images-idx3-ubyte", lambda path: idx.read_path(path, 3)),
    ("points.jsonl", Points),
]


def test_a_regular_file_and_a_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert regular(tmp_path / "link") == tmp_path / "link"


@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
def test_pipes_and_devices_are_refused(
    name: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    pipe, device = tmp_path / name, tmp_path / "device" / name
    os.mkfifo(pipe)  # nobody writes into it: a reader that opens it waits for ever
    device.parent.mkdir()
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        with pytest.raises(UserError, match="it is a pipe or a device"):
            read(path)
