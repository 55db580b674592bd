"""Read and decode each file of a folder once before training, and cache the results."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

from reslab.core.files import write_cache
from reslab.data.sources.download import cache_dir

from . import duplicates, images

_FORMAT = 2  # raise it when `images.check` or `duplicates.perceptual_hash` changes
_SHOW_FROM = 500  # files; fewer get no progress bar


@dataclass(frozen=True)
class Verdict:
    """The result for a file of this size and time. `problem` is empty for a good image.

    `perceptual_hash` is empty for a bad image, and if it was not asked for.
    """

    size: int
    mtime_ns: int
    sha256: str
    problem: str
    perceptual_hash: str = ""


def inspect(
    root: Path, names: list[str], cache: Path | None, hashes: bool = False
) -> dict[str, Verdict]:
    """The verdict on each file. A file that has not changed since an earlier call is not read.

    With `hashes`, good images have a perceptual hash.
    """
    index = cache_dir(cache) / "folders" / f"{hashlib.sha256(str(root).encode()).hexdigest()}.json"
    cached = _read_index(index)
    stats = {name: _stat(root / name) for name in names}
    changed = [
        n
        for n in names
        if n not in cached
        or stats[n] != (cached[n].size, cached[n].mtime_ns)
        or (hashes and not cached[n].problem and not cached[n].perceptual_hash)
    ]
    with warnings.catch_warnings():
        from PIL import Image

        warnings.simplefilter("ignore")  # such as odd metadata: only the pixels matter
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            checked = pool.map(lambda name: _check(root / name, stats[name], hashes), changed)
            cached.update(zip(changed, _with_progress(checked, len(changed)), strict=True))
    verdicts = {name: cached[name] for name in names}
    if changed:
        _write_index(index, verdicts)
    return verdicts


def _stat(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # a dangling link: `_check` reports it
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _check(path: Path, stat: tuple[int, int], hashes: bool) -> Verdict:
    try:
        content = images.regular(path).read_bytes()
    except OSError as error:
        return Verdict(*stat, "", error.strerror or "cannot be read")
    except images.BadImage as error:
        return Verdict(*stat, "", str(error))
    digest = hashlib.sha256(content).hexdigest()
    try:
        picture = images.check(io.BytesIO(content), duplicates.PIXELS if hashes else 1)
    except images.BadImage as error:
        return Verdict(*stat, digest, str(error))
    perceptual_hash = duplicates.perceptual_hash(picture) if hashes else ""
    return Verdict(*stat, digest, "", perceptual_hash)


def _with_progress(verdicts: Iterable[Verdict], total: int) -> Iterator[Verdict]:
    if total < _SHOW_FROM or sys.stderr is None or not sys.stderr.isatty():
        return iter(verdicts)
    from rich.console import Console
    from rich.progress import track

    return iter(track(verdicts, "Checking images", total, console=Console(stderr=True)))


def _read_index(index: Path) -> dict[str, Verdict]:
    """Empty if there is no index, or if it cannot be read."""
    try:
        stored = json.loads(index.read_bytes())
        if stored["format"] != _FORMAT:
            return {}
        return {name: Verdict(*fields) for name, fields in stored["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write_index(index: Path, verdicts: dict[str, Verdict]) -> None:
    """The index only saves time, so it is no error if it cannot be written."""
    files = {name: astuple(verdict) for name, verdict in verdicts.items()}
    content = json.dumps({"format": _FORMAT, "files": files}).encode()
    write_cache(index, lambda temp: temp.write_bytes(content))
