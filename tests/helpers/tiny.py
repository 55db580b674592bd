"""A data set in IDX files that a small network learns in seconds, and that network."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from reslab.spec import BN, Conv, Dense, Dropout, GlobalAvgPool, Network, ReLU, Residual, stage
from reslab.zoo.resnet import basic

CLASSES = 3
NETWORK = Network(
    "tiny",
    {
        "conv1": (Conv(8, 3), BN(), ReLU),
        "conv2_x": stage(basic, 8, 2),
        "conv3_x": Residual((Conv(8, 3), BN()), shortcut=()),
        "head": (GlobalAvgPool, Dropout(0.2), Dense(CLASSES)),
    },
    (8, 8, 1),
)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an uncompressed IDX file of bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def images(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noise with one bright third, which is the label: uint8 (n, 8, 8) and int (n,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    noise = rng.integers(0, 120, (n, 8, 8))
    for i, label in enumerate(labels):
        noise[i, :, 3 * label : 3 * label + 2] += 60
    return noise.astype(np.uint8), labels


def folder(root: Path, train: int = 192, test: int = 48) -> Path:
    """Write IDX files with the names of MNIST's files; the classes are 0, 1 and 2."""
    root.mkdir(parents=True, exist_ok=True)
    for part, n, seed in (("train", train, 0), ("t10k", test, 1)):
        x, y = images(n, seed)
        write_idx(root / f"{part}-images-idx3-ubyte", x)
        write_idx(root / f"{part}-labels-idx1-ubyte", y)
    return root
