"""CIFAR-10 and CIFAR-100 in their binary versions (the Python versions are pickles).

A record is its label (CIFAR-100: the coarse label, then the fine one) and 3,072 bytes: the
32x32 red plane row by row, then green, then blue.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from reslab.core.errors import UserError
from reslab.core.paths import regular
from reslab.data.dataset import ArraySplit, Parts
from reslab.spec.catalogue import CIFAR as SETS
from reslab.spec.catalogue import CifarSet

from .download import fetch, folders, verify


def parse(body: bytes, name: str, info: CifarSet, records: int) -> ArraySplit:
    """Read one binary file: images, uint8 (records, 32, 32, 3), and labels.

    Raises:
        UserError: the size is not that of `records` records, or a label is out of range.
    """
    width = info.label_bytes + 3072
    if len(body) != records * width:
        raise UserError(
            f"{name} should be {records * width:,} bytes ({records:,} records of {width}),"
            f" but is {'longer' if len(body) > records * width else f'{len(body):,}'}:"
            " download it again"
        )
    rows = np.frombuffer(body, np.uint8).reshape(records, width)
    labels = rows[:, info.label_bytes - 1].astype(np.int32)
    if labels.max() >= len(info.classes):
        raise UserError(f"{name} has a label {labels.max()}; it is not {info.title.split(':')[0]}")
    planes = rows[:, info.label_bytes :].reshape(records, 3, 32, 32)
    return ArraySplit.of(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels)


def load_known(name: str, cache: Path | None) -> Parts:
    """Read a folder of .bin files or the published archive, which is downloaded if necessary."""
    info = SETS[name]
    locations = list(folders(name, cache))
    for location in locations:
        for folder in (location / info.folder, location):
            if (folder / info.test).exists():
                return _from_folder(name, folder)
        if (location / info.archive.name).exists():
            return _from_archive(name, verify(location / info.archive.name, info.archive))
    return _from_archive(name, fetch(info.archive, locations[-2]))


def recognise(path: Path) -> str | None:
    """The name of the set in a folder, in its subfolder or in an archive; None for other data."""
    for name, info in SETS.items():
        inside = (path / info.folder / info.test, path / info.test)
        if path.name == info.archive.name or any(p.exists() for p in inside):
            return name
    return None


def load_path(path: Path) -> Parts:
    """Read a folder or archive that `recognise` accepts."""
    name = recognise(path)
    assert name is not None
    info = SETS[name]
    if path.is_file():
        return _from_archive(name, verify(path, info.archive))
    inner = path / info.folder
    folder = inner if inner.exists() else path
    return _from_folder(name, folder)


def _parts(name: str, where: Path, body: Callable[[str], bytes]) -> Parts:
    info = SETS[name]

    def part(files: tuple[str, ...]) -> ArraySplit:
        read = [parse(body(f), f"{where}/{f}", info, info.records[f]) for f in files]
        array = np.concatenate([r.array for r in read])
        return ArraySplit.of(array, np.concatenate([r.labels for r in read]))

    facts = {"read_from": str(where), "split": "the published training and test parts"}
    return Parts(name, info.classes, part(info.train), part((info.test,)), facts=facts)


def _from_folder(name: str, folder: Path) -> Parts:
    def body(file: str) -> bytes:
        most = SETS[name].records[file] * (SETS[name].label_bytes + 3072)
        try:
            with regular(folder / file).open("rb") as opened:
                return opened.read(most + 1)  # one byte more, to see whether the file is too long
        except OSError as error:
            raise UserError(f"cannot read {folder / file}: {error.strerror or error}") from error

    return _parts(name, folder, body)


def _from_archive(name: str, path: Path) -> Parts:
    """Members are read by name and never unpacked, so paths in the archive are harmless."""
    info = SETS[name]
    wanted = {f"{info.folder}/{f}": f for f in info.records}
    bodies: dict[str, bytes] = {}
    try:
        with tarfile.open(regular(path), "r:gz") as archive:
            for member in archive:
                file = wanted.get(member.name.removeprefix("./"))
                if file and member.isreg() and (body := archive.extractfile(member)):
                    bodies[file] = body.read(info.records[file] * (info.label_bytes + 3072) + 1)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); download it again") from error
    if missing := sorted(set(wanted.values()) - set(bodies)):
        raise UserError(f"{path} has no {missing[0]}; download it again")
    return _parts(name, path, lambda file: bodies[file])
