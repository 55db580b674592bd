"""Files that appear whole or not at all: bytes, JSON and named arrays."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import UserError

Arrays = Mapping[str, np.ndarray]


Write = Callable[[Path, Arrays, Mapping[str, Any]], None]


def write_arrays(path: Path, arrays: Arrays, meta: Mapping[str, Any]) -> None:
    """Named arrays and a JSON-able `meta` as one safetensors file, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}

    def fill(temp: Path) -> None:
        try:
            save_file(plain, temp, metadata={"reslab": json.dumps(meta)})
        except SafetensorError as error:  # how it says that the disk is full
            raise OSError(str(error)) from error

    write(path, fill)


@contextmanager
def behind() -> Iterator[Write]:
    """`write_arrays` for who has more to do: a thread writes copies, at most one file behind.

    What a write raises comes out of the next call, or of the end of the block, which waits.
    """
    pool = ThreadPoolExecutor(1, "reslab-checkpoints")
    last: Future[None] | None = None

    def finish() -> None:
        nonlocal last
        waited, last = last, None
        if waited is not None:
            waited.result()

    def write(path: Path, arrays: Arrays, meta: Mapping[str, Any]) -> None:
        nonlocal last
        copies = {name: np.array(array, order="C") for name, array in arrays.items()}
        finish()
        last = pool.submit(write_arrays, path, copies, meta)

    with pool:
        try:
            yield write
        finally:
            finish()


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `write_arrays` wrote; raises UserError for anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            meta = json.loads((file.metadata() or {})["reslab"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path} is not there: nothing to go on from") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint of reslab: {error}") from None


def read_record(file: Path, kind: str, version: int, fields: Mapping[str, type]) -> dict[str, Any]:
    """The JSON object that describes a folder of results: run.json, study.json.

    Raises UserError if there is none, or if it is not a `kind` of this format version with these
    fields.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file.parent} is no {kind}: there is no {file}") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}") from None
    if not isinstance(record, dict) or record.get("format") != version:
        raise UserError(f"{file} was not written by this version of reslab")
    check_fields(file, record, fields)
    return record


def check_fields(file: Path, record: Mapping[str, Any], fields: Mapping[str, type]) -> None:
    """Raise UserError if a field of a JSON object is missing or has another type."""
    for name, expected in fields.items():
        if name not in record:
            raise UserError(f"{file} is damaged: it has no {name!r}")
        if not isinstance(record[name], expected):
            raise UserError(f"{file} is damaged: {name!r} is no {expected.__name__}")


SAFE = "nothing written before is lost, `reslab train --resume` goes on from it"


def write_json(path: Path, data: Any, then: str = SAFE) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    write(path, lambda temp: temp.write_text(text, encoding="utf-8"), then)


def write(path: Path, fill: Callable[[Path], Any], then: str = SAFE) -> None:
    """Let `fill` write a file beside `path`, put it on the disk, and move it into place.

    Raises UserError, which says what to do `then`, where the disk is full or the folder cannot be
    written; `path` is then as it was.
    """
    temp = path.with_name(f".{os.getpid()}-{path.name}")
    with writing(path, then):
        try:
            fill(temp)
            with temp.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temp, path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise


_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "it may not be written",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file",
}


@contextmanager
def writing(path: Path, then: str = SAFE) -> Iterator[None]:
    """Say in a line what stands in the way of writing, and what to do `then`."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC or "No space left" in str(error)
        known = _REASONS.get(errno.ENOSPC if full else error.errno or 0)
        reason = known or error.strerror or " ".join(str(error).split())
        raise UserError(f"cannot write {path}: {reason}; {then}") from None
