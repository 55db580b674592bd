"""CIFAR-10 and CIFAR-100, in their binary versions (the python versions are pickles).

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
from reslab.data.dataset import ArraySplit, Parts
from reslab.spec.catalogue import CIFAR as SETS
from reslab.spec.catalogue import CifarSet

from .download import fetch, folders, verify


def parse(body: bytes, name: str, known: CifarSet, records: int) -> ArraySplit:
    """The images of one binary file, uint8 (records, 32, 32, 3), and their labels.

    Raises:
        UserError: the size is not that of `records` records, or a label is out of range.
    """
    width = known.label_bytes + 3072
    if len(body) != records * width:
        raise UserError(
            f"{name} should be {records * width:,} bytes ({records:,} records of {width}),"
            f" but is {len(body):,}: get it again"
        )
    rows = np.frombuffer(body, np.uint8).reshape(records, width)
    labels = rows[:, known.label_bytes - 1].astype(np.int32)
    if labels.max() >= len(known.classes):
        raise UserError(f"{name} has a label {labels.max()}; it is not {known.title.split(':')[0]}")
    planes = rows[:, known.label_bytes :].reshape(records, 3, 32, 32)
    return ArraySplit.of(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels)


def load_known(name: str, cache: Path | None) -> Parts:
    """From a folder with the .bin files, or the published archive, which is fetched if need be."""
    known = SETS[name]
    places = list(folders(name, cache))
    for place in places:
        for folder in (place / known.folder, place):
            if (folder / known.test).exists():
                return _from_folder(name, folder)
        if (place / known.archive.name).exists():
            return _from_archive(name, verify(place / known.archive.name, known.archive))
    return _from_archive(name, fetch(known.archive, places[-2]))


def recognise(path: Path) -> str | None:
    """Which of the sets a folder (or the folder around it) or an archive is, if any."""
    for name, known in SETS.items():
        inside = (path / known.folder / known.test, path / known.test)
        if path.name == known.archive.name or any(p.exists() for p in inside):
            return name
    return None


def load_path(path: Path) -> Parts:
    """A folder or archive that `recognise` knows."""
    name = recognise(path)
    assert name is not None
    known = SETS[name]
    if path.is_file():
        return _from_archive(name, verify(path, known.archive))
    inner = path / known.folder
    folder = inner if inner.exists() else path
    return _from_folder(name, folder)


def _parts(name: str, where: Path, body: Callable[[str], bytes]) -> Parts:
    known = SETS[name]

    def part(files: tuple[str, ...]) -> ArraySplit:
        read = [parse(body(f), f"{where}/{f}", known, known.records[f]) for f in files]
        array = np.concatenate([r.array for r in read])
        return ArraySplit.of(array, np.concatenate([r.labels for r in read]))

    facts = {"read_from": str(where), "split": "the published training and test parts"}
    return Parts(name, known.classes, part(known.train), part((known.test,)), facts=facts)


def _from_folder(name: str, folder: Path) -> Parts:
    def body(file: str) -> bytes:
        try:
            return (folder / file).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {folder / file}: {error.strerror or error}") from error

    return _parts(name, folder, body)


def _from_archive(name: str, path: Path) -> Parts:
    """Members are read by their names and never unpacked, so no path in the archive matters."""
    known = SETS[name]
    wanted = {f"{known.folder}/{f}": f for f in known.records}
    bodies: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                file = wanted.get(member.name.removeprefix("./"))
                if file and member.isreg() and (body := archive.extractfile(member)):
                    bodies[file] = body.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); get it again") from error
    if missing := sorted(set(wanted.values()) - set(bodies)):
        raise UserError(f"{path} has no {missing[0]}; get it again")
    return _parts(name, path, lambda file: bodies[file])
