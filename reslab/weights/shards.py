"""Weights in several files, which `model.safetensors.index.json` lists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

from reslab.core import records
from reslab.core.errors import UserError

INDEX = ".index.json"
NAMES = "model.safetensors", "pytorch_model.bin", "model.pth", "model.weights.h5"


class ShardIndex(TypedDict):
    """The index: the file of each tensor."""

    weight_map: dict[str, str]


def in_folder(folder: Path) -> list[Path]:
    """The indices in a folder, or the weight file under one of the usual names."""
    indices = sorted(p for p in folder.iterdir() if p.name.endswith(INDEX))
    safe = [p for p in indices if p.name.endswith(f".safetensors{INDEX}")]
    return safe or indices or [folder / name for name in NAMES if (folder / name).is_file()][:1]


def main_file(folder: Path) -> Path:
    """The index or the weight file in a folder. Raises UserError if there is none, or several."""
    choices = in_folder(folder)
    if len(choices) == 1:
        return choices[0]
    if choices:
        raise UserError(f"{folder} has several indices of weights: name one, such as {choices[0]}")
    raise UserError(
        f"{folder} is a folder, not a weight file, and has no *.safetensors{INDEX}: name the file "
        "in it"
    )


def parts(index: Path) -> tuple[Path, ...]:
    """The files that an index names. Raises UserError if it is damaged or a file is missing."""
    try:
        content = records.read_json(index, ShardIndex, "download it again")
    except FileNotFoundError:
        raise UserError(f"there is no file {index}") from None
    files = tuple(index.parent / name for name in sorted(set(content["weight_map"].values())))
    for file in files:
        if file.parent != index.parent:
            raise UserError(f"{index} names {file.name}, a file outside of its folder: not read")
        if not os.path.isfile(file):  # False for names that no file can have
            raise UserError(f"{index} names {file.name}, which is not in its folder: download it")
    return files
