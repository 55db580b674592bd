"""Find, verify and download files."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from reslab.core.errors import UserError
from reslab.core.paths import regular
from reslab.spec.catalogue import Remote

from . import web

log = logging.getLogger("reslab.data")
DEBIAN = Path("/usr/share/datasets")  # such as the package dataset-fashion-mnist


class Unavailable(web.NotRead):
    """The server does not give the file, or downloads are forbidden."""


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
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256(path: Path) -> str:
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, remote: Remote) -> Path:
    """Return `path` if its checksum is a published one.

    A file whose checksum is not published is accepted if a person put it there, with a warning;
    one that was downloaded insecurely only as long as that is accepted.

    Raises:
        UserError: the checksum is wrong, or the file was downloaded insecurely.
    """
    try:
        wrong = _wrong_checksum(path, remote)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if wrong:
        raise UserError(
            f"{path} has {wrong}, not {remote.checksum.partition(' ')[2]}: it is damaged or another"
            f" file; delete it, or replace it by {remote.url}"
        )
    if not remote.is_verifiable:
        if _marker(path).exists() and not web.is_waived():
            raise UserError(
                f"{path} was downloaded with --insecure, and its checksum is not known: delete it, "
                f"or {web.WAIVE}"
            )
        log.warning("%s is not verified: its checksum is not known", path)
    return path


def _marker(path: Path) -> Path:
    """The file that says that another one was downloaded without a known checksum."""
    return path.with_name(f"{path.name}.insecure")


def _wrong_checksum(path: Path, remote: Remote) -> str:
    """The checksum of the file if it is not a published one, else an empty string."""
    if remote.sha256:
        checksum = sha256(path)
        return "" if checksum.startswith(remote.sha256) else f"sha256 {checksum}"
    if remote.md5:
        checksum = md5(path)
        return "" if checksum == remote.md5 else f"md5 {checksum}"
    return ""


def fetch(
    remote: Remote, folder: Path, checked: bool = True, headers: Mapping[str, str] | None = None
) -> Path:
    """Download a file into `folder` with a progress bar.

    The file gets its name only after its checksum was verified.

    Args:
        remote: The file.
        folder: Where to put it.
        checked: Whether the file needs a known checksum. False for a description, such as one that
            names the checksum of another file: there the encrypted connection has to do.
        headers: Of the request, such as a token.

    Raises:
        Unavailable: there is no network, $RESLAB_OFFLINE is set, or the checksum is wrong. The
            message says which file belongs where, and its checksum.
        UserError: the connection is not encrypted, or no checksum is known.
    """
    what = f"{remote.name} from {remote.url}"
    manual = f"put {what} ({remote.checksum}) into {folder}"
    if os.environ.get("RESLAB_OFFLINE"):
        reason = "RESLAB_OFFLINE is set"
        raise Unavailable(f"{remote.name} is missing and {reason}: {manual}", reason)
    web.check_address(remote.url)
    unknown = checked and not remote.is_verifiable
    if unknown and not web.is_waived():
        raise UserError(
            f"the checksum of {what} is not known, so it is not downloaded: {web.WAIVE}, or put "
            f"it into {folder}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _retrieve(remote, folder, headers)
        if unknown:
            log.warning("%s is not verified: its checksum is not known", path)
            _marker(path).write_text(f"{sha256(path)}\n{remote.url}\n", encoding="utf-8")
    except (OSError, ValueError) as error:  # requests raises OSErrors, `_retrieve` a ValueError
        reason = web.reason(error)
        status = getattr(getattr(error, "response", None), "status_code", None)
        text = f"cannot download {remote.name} ({reason}): {manual}"
        raise Unavailable(text, reason, status) from error
    return path


def _retrieve(remote: Remote, folder: Path, headers: Mapping[str, str] | None) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    with _Bar(remote.name) as bar, web.quiet():
        http = pooch.HTTPDownloader(progressbar=bar, **web.arguments(headers))

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
