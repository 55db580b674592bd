"""Read and write weight files as named arrays. No file is unpickled, and none can run code.

Formats: `.safetensors`; `.pth` and kin (PyTorch); `.keras`, `.weights.h5` and Keras's older `.h5`;
sharded files of the first two kinds with their index. Arrays of Keras's files are named
`layer/variable`: `conv1_conv/kernel`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core import files, limits, records
from reslab.core.errors import UserError, one_line
from reslab.core.paths import regular
from reslab.weights import containers, h5, shards, torch_files


@dataclass
class Contents:
    """The arrays of a file by name, and reslab's note about them (empty if there is none).

    `remarks` are sentences for the user; `parts` are the files read, if there are several.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    note: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    parts: tuple[Path, ...] = ()

    @property
    def nameless(self) -> bool:
        """Whether layers have no names: early files of Keras 3 have only classes and an order."""
        return any(name.startswith("layers/") for name in self.arrays)


def read(path: str | Path, ema: bool = True) -> Contents:
    """Read a weight file, or the folder or the index of a sharded one.

    `ema`: where a file has averages over training steps besides the weights of the last step,
    whether to take the averages. Raises UserError if the file does not exist, has no known suffix,
    or is damaged.
    """
    path = Path(path)
    if path.is_dir():
        path = shards.main_file(path)
    if path.name.lower().endswith(shards.INDEX):
        return _checked(_read_shards(path, ema))
    reader = _for_suffix(path, READERS)
    try:
        regular(path)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    arrays, note, remark = reader(path, ema)
    return _checked(
        Contents(path, arrays, note if isinstance(note, dict) else {}, (remark,) if remark else ())
    )


def _read_shards(path: Path, ema: bool) -> Contents:
    parts = shards.parts(path)
    arrays: dict[str, Any] = {}
    for part in parts:
        # a part has some names of both sets: they are told apart when all parts are read
        tensors = _for_suffix(part, RAW_READERS)(part)
        if both := arrays.keys() & tensors.keys():
            raise UserError(f"{path} is damaged: two of its files have the tensor {min(both)}")
        arrays |= tensors
    selection = containers.select(arrays, lambda x: isinstance(x, np.ndarray), str(path), ema)
    remarks = (selection.remark,) if selection.remark else ()
    return Contents(path, dict(selection.tensors), {}, remarks, (path, *parts))


def _checked(contents: Contents) -> Contents:
    """Raises UserError if there are no arrays, or some that are not of numbers."""
    for name, array in contents.arrays.items():
        if array.dtype.kind not in "fiub":
            raise UserError(
                f"{contents.path}: {name} has dtype {array.dtype}, not numbers: it is not read"
            )
    if not contents.arrays:
        raise UserError(f"{contents.path} contains no weights")
    return contents


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


def _read_safetensors(path: Path, ema: bool) -> tuple[dict[str, np.ndarray], Any, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            note = records.parse((file.metadata() or {}).get("reslab", "{}"))
            names = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            selection = containers.select(names, lambda x: hasattr(x, "get_shape"), str(path), ema)
            taken = {id(x) for x in names.values()} & {id(x) for x in selection.tensors.values()}
            chosen = [(name, x) for name, x in names.items() if id(x) in taken]
            arrays = {id(x): _safetensor(path, file, name, x) for name, x in chosen}
    except UserError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        text = f"{path} is not a safetensors file, or is damaged: {one_line(error)}"
        raise UserError(text) from None
    by_name = {name: arrays[id(x)] for name, x in selection.tensors.items()}
    return by_name, note, selection.remark


def _raw_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            return {name: _safetensor(path, file, name, file.get_slice(name)) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        text = f"{path} is not a safetensors file, or is damaged: {one_line(error)}"
        raise UserError(text) from None


def _safetensor(path: Path, file: Any, name: str, declared: Any) -> np.ndarray:
    """One array; the types that NumPy lacks (bfloat16, float8) are converted to float32."""
    kind = ML_DTYPES.get(declared.get_dtype())
    if kind is None:
        array = file.get_tensor(name)
        return array.astype("float32") if array.dtype.kind == "V" else array
    try:
        import ml_dtypes
    except ImportError:
        raise UserError(
            f"{path}: {name} is of type {declared.get_dtype()}: install ml_dtypes to read it"
        ) from None
    with path.open("rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        start, end = records.parse(raw.read(length))[name]["data_offsets"]
        raw.seek(8 + length + start)
        data = np.frombuffer(raw.read(end - start), getattr(ml_dtypes, kind))
    return data.astype("float32").reshape(declared.get_shape())


def _write_safetensors(path: Path, arrays: Any, note: Any, nest: Any) -> None:
    files.write_arrays(path, arrays, note)


# PyTorch ----------------------------------------------------------------------------------------


def _read_torch(path: Path, ema: bool) -> tuple[dict[str, np.ndarray], Any, str]:
    arrays, remark = torch_files.read(path, ema)
    return arrays, {}, remark


def _raw_torch(path: Path) -> dict[str, np.ndarray]:
    tree = torch_files.load(path)
    if not isinstance(tree, Mapping):
        raise UserError(f"{path} contains no state_dict")
    limits.check_unpacked(path, sum(4 * getattr(x, "numel", int)() for x in tree.values()))
    return {str(n): torch_files.to_numpy(f"{path}: {n}", x) for n, x in tree.items()}


def _write_torch(path: Path, arrays: Any, note: Any, nest: Any) -> None:
    torch = torch_files.require()
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


def _read_keras(path: Path, ema: bool) -> tuple[dict[str, np.ndarray], Any, str]:
    return *h5.read_keras(path), ""


def _read_h5(path: Path, ema: bool) -> tuple[dict[str, np.ndarray], Any, str]:
    return *h5.read_file(path), ""


READERS = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".ckpt": _read_torch,
    ".bin": _read_torch,
    ".tar": _read_torch,
    ".keras": _read_keras,
    ".weights.h5": _read_h5,
    ".h5": _read_h5,
    ".hdf5": _read_h5,
}
RAW_READERS = {".safetensors": _raw_safetensors, ".bin": _raw_torch, ".pth": _raw_torch}
WRITERS = {
    ".safetensors": _write_safetensors,
    ".pth": _write_torch,
    ".pt": _write_torch,
    ".weights.h5": _write_h5,
    ".h5": _write_old_h5,
}
ML_DTYPES = {  # the type of a safetensors file -> its name in ml_dtypes
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
}
