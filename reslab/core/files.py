"""Atomic writes of files, JSON and named arrays: a file appears complete or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab.core import records
from reslab.core.errors import UserError, one_line
from reslab.core.paths import regular

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np

RUN_FILE = "run.json"  # marks a folder as a run
SEEDS_FILE = "seeds.json"  # marks a folder of runs that differ by their seed
FOLDS_FILE = "folds.json"  # marks a folder of runs that differ by the images they validate on
STUDY_FILE = "study.json"  # marks a folder as a study

Arrays = Mapping[str, "np.ndarray"]
Write = Callable[[Path, Arrays, Mapping[str, Any]], None]


def write_arrays(path: Path, arrays: Arrays, meta: Mapping[str, Any]) -> None:
    """Write named arrays and JSON metadata to one safetensors file."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}

    def fill(temp: Path) -> None:
        try:
            save_file(plain, temp, metadata={"reslab": json.dumps(meta)})
        except SafetensorError as error:  # raised when the disk is full
            raise OSError(str(error)) from error

    write(path, fill)


@contextmanager
def behind() -> Iterator[Write]:
    """Write arrays in a background thread, at most one file at a time.

    Yields a function like `write_arrays`, which copies the arrays and returns. An error in a write
    is raised by the next call or at the end of the block, which waits for the last write.
    """
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

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


def read_arrays(
    path: Path, record: Any = dict[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read arrays and metadata that `write_arrays` wrote; raises UserError for other files.

    `record` is the type of the metadata, see `reslab.core.records`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(regular(path), framework="numpy") as file:
            meta = records.parse((file.metadata() or {})["reslab"])
            records.check(meta, record)
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path} is not there: nothing to go on from") from None
    except (SafetensorError, OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is not a checkpoint of reslab: {one_line(error)}") from None


SAFE = "nothing written before is lost, `reslab train --resume RUN` goes on from it"


def write_json(path: Path, data: Any, then: str = SAFE) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    write(path, lambda temp: temp.write_text(text, encoding="utf-8", newline="\n"), then)


def write(path: Path, fill: Callable[[Path], Any], then: str = SAFE) -> None:
    """Let `fill` write a temporary file beside `path`, sync it, and rename it to `path`.

    Raises UserError if the disk is full or the folder is not writable; `path` is then unchanged.
    `then` ends the message: it says what to do.
    """
    temp = path.with_name(f".{os.getpid()}-{path.name}")
    with writing(path, then):
        try:
            temp.touch()
            mode = temp.stat().st_mode  # that of the umask, which libraries replace by their own
            fill(temp)
            os.chmod(temp, mode)
            with temp.open("r+b") as file:  # Windows only syncs what is open for writing
                os.fsync(file.fileno())
            os.replace(temp, path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise


def write_cache(path: Path, fill: Callable[[Path], Any]) -> None:
    """`write` for a file that only saves time: it is no error if it cannot be written."""
    with suppress(OSError, UserError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, fill)


# Names of files that are not finished: those of `write`, and those of the safetensors library.
_UNFINISHED = re.compile(r"\.\d+-.+|\.tmp\w{6}")


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes have left; call it only where no other process writes."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _UNFINISHED.fullmatch(path.name) and path.is_file():
                path.unlink()


_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file",
}


@contextmanager
def writing(path: Path, then: str = SAFE) -> Iterator[None]:
    """Turn an OSError into a UserError with one line: the reason, and what to do `then`."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC or "No space left" in str(error)
        reason = _REASONS.get(errno.ENOSPC if full else error.errno or 0)
        reason = reason or error.strerror or " ".join(str(error).split())
        raise UserError(f"cannot write {path}: {reason}; {then}") from None
