"""Read and write weight files as named arrays. No file is unpickled, and none can run code.

Formats: `.safetensors`; `.pth` and `.pt` (PyTorch, weights only); `.keras`, `.weights.h5` and
Keras's older `.h5`. Arrays of Keras's files are named `layer/variable`: `conv1_conv/kernel`.
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


@dataclass
class Contents:
    """The arrays of a file by name, and reslab's note about them (empty if there is none)."""

    path: Path
    arrays: dict[str, np.ndarray]
    note: dict[str, Any] = field(default_factory=dict)

    @property
    def nameless(self) -> bool:
        """Whether layers have no names: early files of Keras 3 have only classes and an order."""
        return any(name.startswith("layers/") for name in self.arrays)


def read(path: str | Path) -> Contents:
    """Raises UserError if the file does not exist, has no known suffix, or is damaged."""
    path = Path(path)
    reader = _for_suffix(path, READERS)
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a weight file")
    if not path.exists():
        raise UserError(f"there is no file {path}")
    arrays, note = reader(path)
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise UserError(f"{path}: {name} has dtype {array.dtype}, not numbers: it is not read")
    if not arrays:
        raise UserError(f"{path} contains no weights")
    return Contents(path, arrays, note if isinstance(note, dict) else {})


def write(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    note: Mapping[str, Any],
    nest: Callable[[str], Sequence[str]] | None = None,
) -> None:
    """Write the arrays atomically, in the format of the suffix.

    `.pth` files contain no note: `load_state_dict` accepts arrays only. `nest` returns the models
    that contain a layer (for `.weights.h5`). For `.h5` and `.weights.h5` the arrays are in the
    order of the layers of their model.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    with files.writing(path, "choose another file"):
        path.parent.mkdir(parents=True, exist_ok=True)
    _for_suffix(path, WRITERS)(path, arrays, note, nest)


def _for_suffix(path: Path, functions: Mapping[str, Any]) -> Any:
    for suffix, function in functions.items():
        if path.name.lower().endswith(suffix):
            return function
    raise UserError(f"{path}: a weight file ends in {', '.join(functions)}")


# safetensors ------------------------------------------------------------------------------------


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            note = json.loads((file.metadata() or {}).get("reslab", "{}"))
            arrays = {name: _native(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            return arrays, note
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a safetensors file, or is damaged: {error}") from None


def _native(array: np.ndarray) -> np.ndarray:
    """bfloat16 and other types of ml_dtypes are converted to float32."""
    return array.astype("float32") if array.dtype.kind == "V" else array


def _write_safetensors(path: Path, arrays: Any, note: Any, nest: Any) -> None:
    files.write_arrays(path, arrays, note)


# PyTorch ----------------------------------------------------------------------------------------


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise UserError('.pth files need PyTorch: pip install "reslab[torch]"') from None
    if tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2]) < (2, 6):
        raise UserError(
            ".pth files need PyTorch 2.6 or newer: in older versions a weight file can run code "
            "(CVE-2025-32434)"
        )
    return torch


def _read_torch(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """Read with PyTorch's weights-only loader, which builds tensors and plain containers only."""
    torch = _torch()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of many classes, with messages that advise to disable the safety
        raise UserError(
            f"{path} is damaged, or contains more than weights, which could run code: it is not "
            "loaded; save only its state_dict(), or use safetensors"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise UserError(f"{path} contains no state_dict")
    tensors = {str(name): v for name, v in state.items() if isinstance(v, torch.Tensor)}
    if all(name.startswith("module.") for name in tensors):  # saved from DataParallel
        tensors = {name.removeprefix("module."): v for name, v in tensors.items()}
    return {
        name: (v.float() if v.dtype.is_floating_point else v).detach().numpy()
        for name, v in tensors.items()
    }, {}


def _write_torch(path: Path, arrays: Any, note: Any, nest: Any) -> None:
    torch = _torch()
    tensors = {name: torch.from_numpy(np.array(a, order="C")) for name, a in arrays.items()}

    def write_state(temporary: Path) -> None:
        try:
            torch.save(tensors, temporary)
        except RuntimeError as error:  # PyTorch raises it when the disk is full
            raise OSError(str(error)) from error

    files.write(path, write_state)


# Keras ------------------------------------------------------------------------------------------


def _write_h5(path: Path, arrays: Any, note: Any, nest: Any) -> None:
    files.write(path, lambda temporary: h5.write_weights(temporary, arrays, note, nest))


def _write_old_h5(path: Path, arrays: Any, note: Any, nest: Any) -> None:
    files.write(path, lambda temporary: h5.write_by_layer(temporary, arrays, note))


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
