"""Sizes that a file declares are bounded before memory is taken for them."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from reslab import data
from reslab.core.errors import UserError
from reslab.core.records import Damaged
from reslab.data.sources import idx, npz, table_files


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (2**20, 32, 33)])
def test_an_idx_header_that_declares_too_much(
    shape: tuple[int, ...], packed: bool, tmp_path: Path
) -> None:
    content = struct.pack(">BBBB3I", 0, 0, 8, 3, *shape) + bytes(100)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(UserError, match="bytes of data; 1,073,741,824 are the most"):
        idx.read_path(path, 3)


def test_an_idx_file_of_an_honest_size(tmp_path: Path) -> None:
    images = np.arange(60_000 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(-1, 28, 28)
    path = tmp_path / "a"
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, *images.shape)
    path.write_bytes(gzip.compress(header + images.tobytes(), 1))
    assert np.array_equal(idx.read_path(path, 3), images)


@pytest.mark.parametrize("shape", ["(10000000000,)", "(9,)"])
def test_an_array_that_is_not_as_long_as_it_says(shape: str) -> None:
    packed = io.BytesIO()
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with zipfile.ZipFile(packed, "w") as archive:
        body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
        archive.writestr("a.npy", body + bytes(8))
    with pytest.raises(Damaged, match="not as long as it says"):
        npz.read(packed.getvalue(), ["a"])


def test_arrays_that_unpack_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, a=np.zeros(10_000))
    assert npz.read(packed.getvalue(), ["a"])["a"].shape == (10_000,)
    monkeypatch.setattr(npz, "MOST_BYTES", 79_999)
    with pytest.raises(Damaged, match="more than 79,999 bytes"):
        npz.read(packed.getvalue(), ["a"])


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "a.csv"
    table.write_text("file,label\n" + "a,b\n" * 20)
    monkeypatch.setattr(table_files, "MOST_ROWS", 19)
    with pytest.raises(UserError, match="more than 19 rows"):
        data.load(table)
    monkeypatch.setattr(table_files, "MOST_BYTES", 80)
    with pytest.raises(UserError, match="91 bytes; 80 are the most"):
        data.load(table)


def test_a_row_whose_file_has_no_possible_name(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("file,label\na\x00.png,b\n" + "x" * 300 + ".png,c\n")
    with pytest.raises(UserError, match=r"line 2: 'a\\x00.png' is not the name of a file"):
        data.load(table)
