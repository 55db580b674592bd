"""Weight and model files that lead elsewhere, or unpack to far more than they are."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.models import saved
from reslab.weights import files

LINKS: dict[str, Callable[[Path], Any]] = {
    "external": lambda secret: h5py.ExternalLink(str(secret), "/layers/dense/vars/0"),
    "soft": lambda secret: h5py.SoftLink("/hidden"),
    "dangling": lambda secret: h5py.SoftLink("/nowhere"),
}


def secret_file(folder: Path) -> Path:
    with h5py.File(folder / "secret.h5", "w") as file:
        file["layers/dense/vars/0"] = np.full((2, 3), 42, "f4")
    return folder / "secret.h5"


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("place", ["layers/dense/vars/0", "layers/dense/vars", "layers", "reslab"])
def test_links_in_weight_files_are_not_followed(kind: str, place: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["hidden"] = h5py.ExternalLink(str(secret_file(tmp_path)), "/layers/dense/vars/0")
        file["layers/conv2d/vars/0"] = np.zeros((1, 1, 1, 1), "f4")
        if place in file:
            del file[place]
        file[place] = LINKS[kind](tmp_path / "secret.h5")
    with pytest.raises(UserError, match=r"has a link at .*not read"):
        files.read(tmp_path / "a.weights.h5")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small whole model."""
    path = tmp_path_factory.mktemp("whole") / "a.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    return path


def changed(path: Path, target: Path, **members: bytes) -> Path:
    """A copy of an archive with other members."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        contents = {name: old.read(name) for name in old.namelist()} | members
        for name, content in contents.items():
            new.writestr(name, content)
    return target


def test_links_inside_of_model_files_are_not_followed(whole: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        secret = str(secret_file(tmp_path))
        file["layers/dense/vars/0"] = h5py.ExternalLink(secret, "/layers/dense/vars/0")
    weights = (tmp_path / "w.h5").read_bytes()
    path = changed(whole, tmp_path / "b.keras", **{"model.weights.h5": weights})
    for read in (reslab.load, files.read):
        with pytest.raises(UserError, match=r"has a link at layers/dense/vars/0"):
            read(path)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", "reslab.json", "other.txt"])
def test_members_that_unpack_to_far_more_are_not_read(
    member: str, whole: Path, tmp_path: Path
) -> None:
    path = changed(whole, tmp_path / "b.keras", **{member: bytes(3 * 10**8)})
    for read in (reslab.load, files.read, saved.read_card):
        with pytest.raises(UserError, match=r"declares 28\d MiB of content: .*is not read"):
            read(path)


@pytest.mark.parametrize("shape", [(10**9,), (10**6, 10**6), (2**62,)])
def test_arrays_that_were_never_written_are_not_read(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    for name in ("layers/dense/vars/0", "optimizer/vars/0"):
        path = tmp_path / "a.weights.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset(name, shape, "f4", chunks=(1,) * len(shape))
        with pytest.raises(UserError, match="declares"):
            files.read(path)


@pytest.mark.parametrize("member", ["config.json", "reslab.json"])
def test_members_with_endless_brackets(member: str, whole: Path, tmp_path: Path) -> None:
    path = changed(whole, tmp_path / "b.keras", **{member: b"[" * 100_000})
    for read in (files.read, saved.read_card) if member == "config.json" else (saved.read_card,):
        with pytest.raises(UserError):
            read(path)
    if member == "config.json":
        with pytest.raises(UserError, match="cannot be loaded as a model"):
            reslab.load(path)


def test_more_layers_than_python_can_load(whole: Path, tmp_path: Path) -> None:
    path = changed(
        whole, tmp_path / "b.keras", **{"config.json": b"[" + b'"class_name",' * 10**6 + b"1]"}
    )
    with pytest.raises(UserError, match="declares 1,000,000 layers"):
        reslab.load(path)
