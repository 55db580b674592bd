"""Every file of a folder is read and decoded once before training; what was found is kept."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from reslab.data.sources.download import cache_dir, write_atomically

from . import images

_FORMAT = 1  # raise it when `images.check` finds more or less
_SHOW_FROM = 500  # files, from which on a progress bar is worth it


@dataclass(frozen=True)
class Verdict:
    """What is known of a file at this size and time; `problem` is empty for a whole image."""

    size: int
    mtime_ns: int
    sha256: str
    problem: str


def inspect(root: Path, names: list[str], cache: Path | None) -> dict[str, Verdict]:
    """The verdict on each file; files unchanged since an earlier call are not read again."""
    index = cache_dir(cache) / "folders" / f"{hashlib.sha256(str(root).encode()).hexdigest()}.json"
    known = _recall(index)
    stats = {name: _stat(root / name) for name in names}
    fresh = [n for n in names if n not in known or stats[n] != (known[n].size, known[n].mtime_ns)]
    with warnings.catch_warnings():
        from PIL import Image

        warnings.simplefilter("ignore")  # e.g. odd metadata; images decide by what they decode to
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            found = pool.map(lambda name: _look(root / name, stats[name]), fresh)
            known.update(zip(fresh, _shown(found, len(fresh)), strict=True))
    verdicts = {name: known[name] for name in names}
    if fresh:
        _keep(index, verdicts)
    return verdicts


def _stat(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # a dangling link: `_look` will say so
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _look(path: Path, stat: tuple[int, int]) -> Verdict:
    try:
        content = images.regular(path).read_bytes()
    except OSError as error:
        return Verdict(*stat, "", error.strerror or "cannot be read")
    except images.BadImage as error:
        return Verdict(*stat, "", str(error))
    digest = hashlib.sha256(content).hexdigest()
    try:
        images.check(io.BytesIO(content))
    except images.BadImage as error:
        return Verdict(*stat, digest, str(error))
    return Verdict(*stat, digest, "")


def _shown(found: Iterable[Verdict], total: int) -> Iterator[Verdict]:
    if total < _SHOW_FROM or not sys.stderr.isatty():
        return iter(found)
    from rich.console import Console
    from rich.progress import track

    return iter(track(found, "Checking images", total, console=Console(stderr=True)))


def _recall(index: Path) -> dict[str, Verdict]:
    """Nothing, if there is no index, or one that cannot be understood."""
    try:
        stored = json.loads(index.read_bytes())
        if stored["format"] != _FORMAT:
            return {}
        return {name: Verdict(*fields) for name, fields in stored["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _keep(index: Path, verdicts: dict[str, Verdict]) -> None:
    """The index only saves time, so failing to write it is no failure."""
    files = {n: [v.size, v.mtime_ns, v.sha256, v.problem] for n, v in verdicts.items()}
    content = json.dumps({"format": _FORMAT, "files": files}).encode()
    with contextlib.suppress(OSError):
        write_atomically(index, lambda file: file.write(content))
