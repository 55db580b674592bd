"""IDX files, the format of MNIST and similar sets, plain or gzipped.

An IDX file is 2 zero bytes, a type byte (8: uint8), the number of dimensions, each dimension as
a big-endian uint32, then the data. EMNIST stores its images transposed; the functions here return
them upright.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from reslab.core.errors import UserError
from reslab.core.paths import regular
from reslab.data.dataset import ArraySplit, Parts
from reslab.spec.catalogue import EMNIST_ZIP, IdxSet
from reslab.spec.catalogue import IDX as SETS

from .download import fetch, folders, verify

MOST_BYTES = 2**30  # of the data of a file; the largest set of EMNIST has 547 million
CHUNK = 2**24  # bytes that are read or unpacked at a time
_FILE = re.compile(
    r"^(?P<set>.*?)-?(?P<part>train|t10k|test|validation|val)-"
    r"(?P<kind>images|labels)[-.]idx(?P<dims>[1-4])-ubyte(?P<gz>\.gz)?$"
)
# A member of a zip file that is damaged, encrypted, or packed in a way that Python does not know.
_BAD_MEMBER = zipfile.BadZipFile, RuntimeError, NotImplementedError
_PARTS = {"t10k": "test", "val": "validation"}


def read(opened: Callable[[], IO[bytes]], name: str, dims: int) -> np.ndarray:
    """Read the uint8 array of an IDX file with `dims` dimensions, plain or gzipped.

    Raises:
        UserError: the file is not IDX, has another type, is too short or too long.
    """
    try:
        with opened() as file:
            head = file.read(2)
            file.seek(0)
            if head != b"\x1f\x8b":
                return _parse(file, name, dims)
            with gzip.GzipFile(fileobj=file) as plain:
                return _parse(plain, name, dims)
    except (EOFError, zlib.error, gzip.BadGzipFile, *_BAD_MEMBER) as error:
        raise UserError(f"{name} is truncated or damaged ({error}); download it again") from error
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror or error}") from error


def read_path(path: Path, dims: int) -> np.ndarray:
    """`read` of a file on disk."""
    return read(lambda: regular(path).open("rb"), str(path), dims)


def _parse(file: Any, name: str, dims: int) -> np.ndarray:
    magic = file.read(4)
    if len(magic) != 4 or magic[:2] != b"\0\0":
        raise UserError(f"{name} is not an IDX file: it starts with {magic.hex() or 'nothing'}")
    if magic[2] != 8 or magic[3] != dims:
        raise UserError(
            f"{name} has IDX type {magic[2]} in {magic[3]} dimensions; expected type 8 (uint8)"
            f" in {dims}"
        )
    header = file.read(4 * dims)
    if len(header) != 4 * dims:
        raise UserError(f"{name} is truncated: its header is incomplete; download it again")
    shape = struct.unpack(f">{dims}I", header)
    wanted = math.prod(shape)
    if wanted > MOST_BYTES:
        raise UserError(
            f"{name} declares {wanted:,} bytes of data; {MOST_BYTES:,} are the most: give a folder "
            "of images or a table instead"
        )
    data = np.empty(wanted, np.uint8)  # the system gives memory as it is written
    filled = 0
    while filled < wanted and (n := file.readinto(data[filled : filled + CHUNK].data)):
        filled += n
    if filled < wanted or file.read(1):
        size = "more" if filled == wanted else f"only {filled:,}"
        raise UserError(f"{name} should have {wanted:,} bytes of data, but has {size}")
    return data.reshape(shape)


def _pair(images: np.ndarray, labels: np.ndarray, name: str, info: IdxSet | None) -> ArraySplit:
    if len(images) != len(labels):
        raise UserError(f"{name}: {len(images)} images, but {len(labels)} labels")
    if images.ndim == 4 and images.shape[-1] not in (1, 3):
        raise UserError(f"{name}: images have {images.shape[-1]} channels; 1 or 3 are supported")
    if info is not None:
        low, high = info.first, info.first + len(info.classes)
        if len(labels) and (labels.min() < low or labels.max() >= high):
            raise UserError(f"{name}: labels should be {low}..{high - 1}, found {labels.max()}")
        labels = labels - np.uint8(info.first)
    return ArraySplit.of(images, labels)


def upright(images: np.ndarray) -> np.ndarray:
    """Swap rows and columns, in which EMNIST stores its images transposed."""
    return np.ascontiguousarray(images.swapaxes(1, 2))


def load_known(name: str, cache: Path | None) -> Parts:
    """Read one of SETS from a folder, or download it."""
    info = SETS[name]
    folder, member = _locate(info, cache)
    splits = {}
    for part, expected in (("train", info.train), ("test", info.test)):
        prefix = f"{info.prefix}-{part}" if info.prefix else {"test": "t10k"}.get(part, part)
        images = member(f"{prefix}-images-idx3-ubyte", 3)
        if images.shape != (expected, 28, 28):
            raise UserError(
                f"{folder}: {prefix}-images has the shape {images.shape}, but {name} has"
                f" {expected:,} images of 28x28"
            )
        images = upright(images) if info.prefix else images
        splits[part] = _pair(images, member(f"{prefix}-labels-idx1-ubyte", 1), prefix, info)
    facts = {
        "read_from": str(folder),
        "split": "the published training and test parts",
        "mirrors": info.mirrors,
    }
    return Parts(name, info.classes, splits["train"], splits["test"], facts=facts)


Member = Callable[[str, int], np.ndarray]


def _locate(info: IdxSet, cache: Path | None) -> tuple[Path, Member]:
    """The folder or zip file of the set, and a function that reads one of its IDX files."""
    locations = list(folders(info.folder, cache))
    probe = f"{info.prefix}-train" if info.prefix else "train"
    for folder in locations:
        if any((folder / f"{probe}-images-idx3-ubyte{end}").exists() for end in ("", ".gz")):
            return folder, partial(_from_folder, folder, info)
        if info.prefix and (folder / EMNIST_ZIP.name).exists():
            return _zip_member(verify(folder / EMNIST_ZIP.name, EMNIST_ZIP))
    home = locations[-2]  # the cache; the last one is Debian's folder, which is read-only
    if info.prefix:
        return _zip_member(fetch(EMNIST_ZIP, home))
    for remote in info.files:
        if not (home / remote.name).exists():
            fetch(remote, home)
    return home, partial(_from_folder, home, info)


def _from_folder(folder: Path, info: IdxSet, name: str, dims: int) -> np.ndarray:
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            for remote in info.files:
                if remote.name == path.name:
                    verify(path, remote)
            return read_path(path, dims)
    raise UserError(f"{folder} has no {name}.gz: put it into this folder")


def _zip_member(path: Path) -> tuple[Path, Member]:
    def member(name: str, dims: int) -> np.ndarray:
        inner = f"gzip/{name}.gz"
        try:
            archive = zipfile.ZipFile(regular(path))
        except zipfile.BadZipFile as error:
            raise UserError(f"{path} is not a zip file; download it again") from error
        with archive:
            if inner not in archive.namelist():
                raise UserError(f"{path} has no {inner}; download it again")
            return read(lambda: archive.open(inner), f"{path}:{inner}", dims)

    return path, member


def is_folder(folder: Path) -> bool:
    """Whether the folder has IDX files of images."""
    return any(
        (m := _FILE.match(p.name)) is not None and m["kind"] == "images" and p.is_file()
        for p in folder.iterdir()
    )


def load_folder(folder: Path) -> Parts:
    """IDX files of one set in a folder: `[set-](train|t10k|test|val)-(images|labels)-idxN-ubyte`.

    Files whose names start with `emnist` have transposed images. Class names are the labels, unless
    the set is a known one.
    """
    files: dict[tuple[str, str, str], tuple[Path, int]] = {}
    for path in sorted(folder.iterdir()):
        if (match := _FILE.match(path.name)) and path.is_file():
            part = _PARTS.get(match["part"], match["part"])
            files.setdefault((match["set"], part, match["kind"]), (path, int(match["dims"])))
    sets = sorted({key[0] for key in files})
    if len(sets) > 1:
        raise UserError(
            f"{folder} has several IDX sets ({', '.join(sets)}): use the name of one as the data,"
            f" with RESLAB_DATA={folder.parent}, or put each into its own folder"
        )
    info = SETS.get(sets[0]) or SETS.get(folder.name)
    splits: dict[str, ArraySplit] = {}
    for _, part, kind in files:
        if kind == "images":
            splits[part] = _read_pair(folder, files, sets[0], part, info)
    if "train" not in splits:
        raise UserError(f"{folder} has no training part: train-images-idx3-ubyte is missing")
    splits, classes = _named(folder, splits, info)
    facts = {
        "read_from": str(folder),
        "split": f"the parts of the files: {', '.join(splits)}",
        "mirrors": info.mirrors if info else True,
    }
    return Parts(
        folder.name,
        classes,
        splits["train"],
        splits.get("test"),
        splits.get("validation"),
        facts=facts,
    )


def _named(
    folder: Path, splits: dict[str, ArraySplit], info: IdxSet | None
) -> tuple[dict[str, ArraySplit], tuple[str, ...]]:
    """The parts with labels from 0 on, and the classes: those of the training part."""
    values = np.unique(splits["train"].labels)
    for part, split in splits.items():
        if len(new := np.setdiff1d(split.labels, values)):
            raise UserError(
                f"{folder}: the {part} part has the label {new[0]}, which the training part does "
                "not have"
            )
    known = info is not None and len(values) and values[-1] < len(info.classes)
    names = info.classes if info and known else [str(i) for i in range(256)]
    renumbered = {
        part: replace(split, labels=np.searchsorted(values, split.labels).astype(np.int32))
        for part, split in splits.items()
    }
    return renumbered, tuple(names[value] for value in values)


def _read_pair(
    folder: Path,
    files: dict[tuple[str, str, str], tuple[Path, int]],
    name: str,
    part: str,
    info: IdxSet | None,
) -> ArraySplit:
    path, dims = files[name, part, "images"]
    if (name, part, "labels") not in files:
        raise UserError(f"{folder} has {path.name}, but no labels for it")
    beside, _ = files[name, part, "labels"]
    images = read_path(path, dims)
    labels = read_path(beside, 1)
    if name.startswith("emnist"):
        images = upright(images)
    return _pair(images, labels, str(path), info)
