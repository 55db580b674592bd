"""Files of weights: named arrays in, named arrays out. No file is ever unpickled or run.

`.safetensors`; `.pth` and `.pt` (Torch, weights alone); `.keras`, `.weights.h5` and Keras's older
`.h5`. Arrays from Keras's files are called `layer/variable`, as `conv1_conv/kernel`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core import files
from reslab.core.errors import UserError
from reslab.weights import h5

NOTE = "reslab-weights.json"  # what a .keras file of ours says of its weights


@dataclass
class Contents:
    """What a file holds: arrays by name, and what it says of them (empty where it says nothing)."""

    path: Path
    arrays: dict[str, np.ndarray]
    note: dict[str, Any] = field(default_factory=dict)

    @property
    def nameless(self) -> bool:
        """Keras 3's earlier files tell layers apart by their class and order alone."""
        return any(name.startswith("layers/") for name in self.arrays)


def read(path: str | Path) -> Contents:
    """Raises UserError where the file is not there, not of a known kind, or damaged."""
    path = Path(path)
    reader = _kind(path, READERS)
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file of weights")
    if not path.exists():
        raise UserError(f"there is no file {path}")
    arrays, note = reader(path)
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise UserError(f"{path}: {name} holds {array.dtype}, not numbers: it is not read")
    if not arrays:
        raise UserError(f"{path} holds no weights")
    return Contents(path, arrays, note if isinstance(note, dict) else {})


def write(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    note: Mapping[str, Any],
    nest: Callable[[str], Sequence[str]] | None = None,
) -> None:
    """The arrays as one file, whole or not at all.

    `.pth` has no place for the note: it holds the arrays alone, as `load_state_dict` wants them.
    `nest` says in which models a layer lies (for `.weights.h5`); arrays of `.h5` files come in
    the order of the layers in their model.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    with files.writing(path, "choose another file"):
        path.parent.mkdir(parents=True, exist_ok=True)
    _kind(path, WRITERS)(path, arrays, note, nest)


def _kind(path: Path, table: Mapping[str, Any]) -> Any:
    for ending, function in table.items():
        if path.name.lower().endswith(ending):
            return function
    raise UserError(f"{path}: weights are files that end in {', '.join(table)}")


# safetensors ------------------------------------------------------------------------------------


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            note = json.loads((file.metadata() or {}).get("reslab", "{}"))
            return {name: _plain(file.get_tensor(name)) for name in file.keys()}, note  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a safetensors file, or is damaged: {error}") from None


def _plain(array: np.ndarray) -> np.ndarray:
    """bfloat16 and other types of ml_dtypes as float32."""
    return array.astype("float32") if array.dtype.kind == "V" else array


def _write_safetensors(path: Path, arrays: Any, note: Any, nest: Any) -> None:
    files.write_arrays(path, arrays, note)


# Torch ------------------------------------------------------------------------------------------


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise UserError('.pth files need PyTorch: pip install "reslab[torch]"') from None
    if tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2]) < (2, 6):
        raise UserError(
            ".pth files need PyTorch 2.6 or newer: before it, a file of weights could run code "
            "(CVE-2025-32434)"
        )
    return torch


def _read_torch(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """Torch's own reader of weights alone: it builds tensors and plain containers, no objects."""
    torch = _torch()
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # its kinds are many, and its messages advise to switch the safety off
        raise UserError(
            f"{path} is damaged, or holds more than weights, which could run code: it is not "
            "loaded; save its state_dict() alone, or as safetensors"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no state_dict")
    tensors = {str(k): v for k, v in found.items() if isinstance(v, torch.Tensor)}
    if all(name.startswith("module.") for name in tensors):  # as DataParallel saves
        tensors = {name.removeprefix("module."): v for name, v in tensors.items()}
    return {
        name: (v.float() if v.dtype.is_floating_point else v).detach().numpy()
        for name, v in tensors.items()
    }, {}


def _write_torch(path: Path, arrays: Any, note: Any, nest: Any) -> None:
    torch = _torch()
    tensors = {name: torch.from_numpy(np.array(a, order="C")) for name, a in arrays.items()}

    def fill(temp: Path) -> None:
        try:
            torch.save(tensors, temp)
        except RuntimeError as error:  # how it says that the disk is full
            raise OSError(str(error)) from error

    files.write(path, fill)


# Keras ------------------------------------------------------------------------------------------


def _write_h5(path: Path, arrays: Any, note: Any, nest: Any) -> None:
    files.write(path, lambda temp: h5.write_weights(temp, arrays, note, nest))


def _write_old_h5(path: Path, arrays: Any, note: Any, nest: Any) -> None:
    files.write(path, lambda temp: h5.write_by_layer(temp, arrays, note))


READERS = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".keras": h5.read_keras,
    ".weights.h5": h5.read_file,
    ".h5": h5.read_file,
}
WRITERS = {
    ".safetensors": _write_safetensors,
    ".pth": _write_torch,
    ".pt": _write_torch,
    ".weights.h5": _write_h5,
    ".h5": _write_old_h5,
}
