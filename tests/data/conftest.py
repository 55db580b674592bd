from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _apart(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and no cache but one of this test run's own."""
    monkeypatch.setenv("RESLAB_OFFLINE", "1")
    monkeypatch.setenv("RESLAB_CACHE", str(tmp_path_factory.getbasetemp() / "reslab-cache"))
    monkeypatch.delenv("RESLAB_DATA", raising=False)


@pytest.fixture
def idx_bytes() -> Callable[[np.ndarray], bytes]:
    """An array in the IDX format, written from the format's description, not by reslab."""

    def encode(array: np.ndarray) -> bytes:
        head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        return head + array.astype(np.uint8).tobytes()

    return encode


@pytest.fixture
def idx_folder(idx_bytes: Callable[[np.ndarray], bytes]) -> Callable[..., Path]:
    """Writes (images, labels) of each part into a folder, gzipped or not."""

    def write(
        folder: Path,
        parts: dict[str, tuple[np.ndarray, np.ndarray]],
        prefix: str = "",
        zipped: bool = True,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for part, (images, labels) in parts.items():
            for kind, array in ((f"images-idx{images.ndim}", images), ("labels-idx1", labels)):
                name = f"{prefix}{part}-{kind}-ubyte"
                body = idx_bytes(array)
                if zipped:
                    (folder / f"{name}.gz").write_bytes(gzip.compress(body))
                else:
                    (folder / name).write_bytes(body)
        return folder

    return write
