"""Read and decode each file of a folder once before training, and cache the results."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import get_type_hints

from reslab.core import records
from reslab.core.files import write_cache
from reslab.core.paths import regular
from reslab.data.sources.download import cache_dir

from . import duplicates, images
from .formats import BadImage

_FORMAT = 5  # raise it when `images.check` or `duplicates.perceptual_hash` changes
_TICK = 0.02  # seconds; file systems of Linux set times in steps of 4 to 10 ms
_SHOW_FROM = 500  # files; fewer get no progress bar

Stat = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns and inode


@dataclass(frozen=True)
class Verdict:
    """The result for a file of this size and these times. `problem` is empty for a good image.

    Programs set `mtime_ns` as they like (`cp -p`, `rsync -t`); `ctime_ns` is set by the system at
    each change, and `inode` differs where a file was replaced. All four agree for a file whose
    content is the same, without reading it.

    `perceptual_hash` is empty for a bad image, and if it was not asked for. `values` are the grey
    values of an image with more than 8 bits, see `scale.Values`; else empty.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str
    problem: str
    perceptual_hash: str = ""
    values: str = ""

    @property
    def stat(self) -> Stat:
        return self.size, self.mtime_ns, self.ctime_ns, self.inode


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
        or stats[n] != cached[n].stat
        or (hashes and not cached[n].problem and not cached[n].perceptual_hash)
    ]
    _wait_for_a_tick(max((stats[name][2] for name in changed), default=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as odd metadata: only the pixels matter
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            checked = pool.map(lambda name: _check(root / name, stats[name], hashes), changed)
            cached.update(zip(changed, _with_progress(checked, len(changed)), strict=True))
    verdicts = {name: cached[name] for name in names}
    if changed:
        _write_index(index, verdicts)
    return verdicts


def _stat(path: Path) -> Stat:
    try:
        stat = path.stat()
    except OSError:  # a dangling link: `_check` reports it
        return 0, 0, 0, 0
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _wait_for_a_tick(changed_ns: int) -> None:
    """Wait until a change from now on gets another time than the newest one, `changed_ns`."""
    past = time.time() - changed_ns / 1e9
    if 0 <= past < _TICK:
        time.sleep(_TICK - past)


def _check(path: Path, stat: Stat, hashes: bool) -> Verdict:
    try:
        content = images.regular(path).read_bytes()
    except OSError as error:
        return Verdict(*stat, "", error.strerror or "cannot be read")
    except BadImage as error:
        return Verdict(*stat, "", str(error))
    digest = hashlib.sha256(content).hexdigest()
    try:
        picture, values = images.check(io.BytesIO(content), duplicates.PIXELS if hashes else 1)
    except BadImage as error:
        return Verdict(*stat, digest, str(error))
    perceptual_hash = duplicates.perceptual_hash(picture) if hashes else ""
    return Verdict(*stat, digest, "", perceptual_hash, values)


def _with_progress(verdicts: Iterable[Verdict], total: int) -> Iterator[Verdict]:
    if total < _SHOW_FROM or sys.stderr is None or not sys.stderr.isatty():
        return iter(verdicts)
    from rich.console import Console
    from rich.progress import track

    return iter(track(verdicts, "Checking images", total, console=Console(stderr=True)))


def _read_index(index: Path) -> dict[str, Verdict]:
    """Empty if there is no index, or if it cannot be read."""
    try:
        checksum, _, content = regular(index).read_bytes().partition(b"\n")
        if checksum != _checksum(content):
            return {}
        stored = records.parse(content)
        records.check(stored, dict[str, tuple[*get_type_hints(Verdict).values()]])  # type: ignore[misc]
    except (OSError, records.Damaged):
        return {}
    return {name: Verdict(*fields) for name, fields in stored.items()}


def _write_index(index: Path, verdicts: dict[str, Verdict]) -> None:
    """The index only saves time, so it is no error if it cannot be written."""
    files = {name: astuple(verdict) for name, verdict in verdicts.items()}
    content = json.dumps(files).encode()
    write_cache(index, lambda temp: temp.write_bytes(_checksum(content) + b"\n" + content))


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(f"{_FORMAT} ".encode() + content).hexdigest().encode()
