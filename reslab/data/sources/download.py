"""Find, verify and download files."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from reslab.core.errors import UserError
from reslab.spec.catalogue import Remote

DEBIAN = Path("/usr/share/datasets")  # such as the package dataset-fashion-mnist


def cache_dir(cache: str | os.PathLike[str] | None = None) -> Path:
    """The argument, else $RESLAB_CACHE, else the user's cache folder. It may not exist yet.

    A user without a home, as in a container, gets a folder among the temporary files.
    """
    chosen = cache or os.environ.get("RESLAB_CACHE")
    if chosen:
        return home_expanded(chosen).absolute()
    from platformdirs import user_cache_dir

    try:
        return Path(user_cache_dir("reslab"))
    except RuntimeError:
        return Path(tempfile.gettempdir(), f"reslab-{os.getuid()}")


def home_expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ~ replaced by the home; as it is for a user without one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def folders(name: str, cache: str | os.PathLike[str] | None) -> Iterator[Path]:
    """The folders in which the set `name` is searched, in order."""
    if data_folder := os.environ.get("RESLAB_DATA"):
        yield home_expanded(data_folder).absolute() / name
    yield cache_dir(cache) / name
    yield DEBIAN / name


def md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, remote: Remote) -> Path:
    """Return `path` if its checksum is a published one.

    Raises:
        UserError: it is not.
    """
    if wrong := _wrong_checksum(path, remote):
        raise UserError(
            f"{path} has {wrong}, not {remote.checksum.partition(' ')[2]}: it is damaged or another"
            f" file; delete it, or replace it by {remote.url}"
        )
    return path


def _wrong_checksum(path: Path, remote: Remote) -> str:
    """The checksum of the file if it is not a published one, else an empty string."""
    if remote.md5:
        checksum = md5(path)
        return "" if checksum in remote.md5 else f"md5 {checksum}"
    if remote.sha256:
        checksum = sha256(path)
        return "" if checksum.startswith(remote.sha256) else f"sha256 {checksum}"
    return ""


def fetch(remote: Remote, folder: Path) -> Path:
    """Download a file into `folder` with a progress bar.

    The file gets its name only after its checksum was verified.

    Raises:
        UserError: there is no network, or $RESLAB_OFFLINE is set. The message says which file
            belongs where, and its checksum.
    """
    manual = f"put {remote.name} from {remote.url} ({remote.checksum}) into {folder}"
    if os.environ.get("RESLAB_OFFLINE"):
        raise UserError(f"{remote.name} is missing and RESLAB_OFFLINE is set: {manual}")
    import pooch

    pooch.get_logger().setLevel("WARNING")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Bar(remote.name) as bar:
            http = pooch.HTTPDownloader(progressbar=bar, timeout=20)

            def download(url: str, temporary: str, pooch: object) -> None:
                http(url, temporary, pooch)
                if wrong := _wrong_checksum(Path(temporary), remote):
                    raise ValueError(f"it has {wrong}")

            downloaded = pooch.retrieve(
                remote.url,
                known_hash=None,  # `download` checks it before the file has its name
                fname=remote.name,
                path=folder,
                downloader=download,
            )
    except (OSError, ValueError) as error:  # requests raises OSErrors, `download` a ValueError
        reason = type(error).__name__
        raise UserError(f"cannot download {remote.name} ({reason}): {manual}") from error
    return Path(downloaded)


class _Bar:
    """A rich progress bar with the attributes that pooch uses: total, update, reset, close."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(title, total=None)
        self._total: float = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def total(self) -> float:
        return self._total

    @total.setter
    def total(self, value: float) -> None:
        self._total = value
        self._progress.update(self._task, total=value or None)

    def update(self, size: int) -> None:
        self._progress.advance(self._task, size)

    def reset(self) -> None:
        self._progress.reset(self._task, total=self._total or None)

    def close(self) -> None:
        """`__exit__` stops the progress bar, also after an error."""
