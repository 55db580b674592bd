"""Files of the Hugging Face hub: `hf://USER/NAME`, `hf://USER/NAME@REVISION`.

The hub names the commit that a revision stands for, and of each file its SHA-256, or the SHA-1 of
Git for small ones. Files are downloaded at the commit and verified, by the rules of `web`.
HF_ENDPOINT is another hub, HF_TOKEN the token for private repositories.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict
from urllib.parse import quote

from msgspec import Meta

from reslab.core import records
from reslab.core.errors import UserError, short
from reslab.core.files import write, write_json
from reslab.core.paths import regular
from reslab.data.sources import download, web
from reslab.spec.catalogue import Remote

log = logging.getLogger("reslab.data")
ENDPOINT = "https://huggingface.co"
MOST_DESCRIPTION = 16 * 2**20  # bytes of the list of files, and of a file without a SHA-256
_ADDRESS = re.compile(r"hf:/{1,2}([^/@\s]+/[^/@\s]+?)(?:@([^@\s]+))?/?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
THEN = "free some space, or set RESLAB_CACHE to another folder"


class LfsRecord(TypedDict):
    """A large file."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class FileRecord(TypedDict):
    """A file of a repository."""

    rfilename: str
    blobId: NotRequired[str | None]
    lfs: NotRequired[LfsRecord | None]


class RepositoryRecord(TypedDict):
    """What the hub says about a revision of a repository."""

    sha: Annotated[str, Meta(pattern="^[0-9a-f]{40}$")]
    siblings: list[FileRecord]


class Address(NamedTuple):
    """A repository of models, such as "user/name", and a branch, tag or commit of it."""

    repository: str
    revision: str = "main"


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit."""

    repository: str
    commit: str
    files: Mapping[str, FileRecord]

    @property
    def pinned(self) -> str:
        """The address that always means these files."""
        return f"hf://{self.repository}@{self.commit}"

    @property
    def folder(self) -> Path:
        return _folder(self.repository) / self.commit

    def file(self, name: str) -> Path:
        """The path of a file on this machine; it is downloaded if necessary, and verified.

        Raises UserError if there is no such file, or it cannot be downloaded.
        """
        if name not in self.files:
            raise UserError(
                f"{self.pinned} has no {name}: it was not made by `reslab push` or `reslab export "
                "--to hub`"
            )
        record = self.files[name]
        url = f"{endpoint()}/{self.repository}/resolve/{self.commit}/{quote(name)}"
        path, lfs = self.folder / name, record.get("lfs")
        if lfs is None:
            return self._small(path, url, str(record.get("blobId")))
        remote = Remote(name, url, (lfs["sha256"],))
        if path.exists():
            return download.verify(path, remote)
        return download.fetch(remote, self.folder, headers=_headers())

    def _small(self, path: Path, url: str, blob: str) -> Path:
        """A file that is in Git itself, whose checksum Git defines."""
        cached = path.exists()
        content = regular(path).read_bytes() if cached else _read(url, self.repository)
        start = f"blob {len(content)}\0".encode()
        checksum = hashlib.sha1(start + content, usedforsecurity=False).hexdigest()
        if checksum != blob:
            then = "delete it" if cached else "try again"
            raise UserError(f"{path if cached else url} has SHA-1 {checksum}, not {blob}: {then}")
        if not cached:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, lambda temp: temp.write_bytes(content), THEN)
        return path


def is_address(name: object) -> bool:
    """Whether a name is one of the hub. A `Path` has one slash less."""
    return isinstance(name, str | Path) and (str(name) + "/").startswith("hf:/")


def parse(name: str | Path) -> Address:
    """The repository and the revision. Raises UserError for anything else."""
    found = _ADDRESS.fullmatch(str(name))
    parts = found[1].split("/") if found else []
    revision = (found and found[2]) or "main"
    if not all(map(_NAME.fullmatch, parts)) or not parts or not _REVISION.fullmatch(revision):
        raise UserError(
            f"{short(str(name))} is not an address of the hub: write hf://USER/NAME, or "
            "hf://USER/NAME@REVISION"
        )
    return Address(found[1] if found else "", revision)


def open_snapshot(name: str | Path) -> Snapshot:
    """Ask the hub for the commit and the files of an address.

    A commit that is in the cache needs no hub. Without a connection, the last known commit of a
    revision is taken, with a warning.

    Raises:
        UserError: There is no such repository or revision, or no connection and nothing cached.
    """
    address = parse(name)
    file = _folder(address.repository) / "refs" / f"{quote(address.revision, safe='')}.json"
    if _COMMIT.fullmatch(address.revision) and file.exists():
        return _snapshot(address, records.read_json(file, RepositoryRecord, "delete it"))
    try:
        content = _ask(address)
    except web.NotRead as error:
        if error.status is not None or not file.exists():
            raise UserError(f"{name!s} cannot be read: {error}") from None
        record = records.read_json(file, RepositoryRecord, "delete it")
        log.warning("%s: %s; commit %s is in the cache", name, error.reason, record["sha"])
        return _snapshot(address, record)
    snapshot = _snapshot(address, content)
    kept = {"sha": content["sha"], "siblings": list(snapshot.files.values())}
    for revision in {address.revision, snapshot.commit}:
        path = file.with_name(f"{quote(revision, safe='')}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, kept, THEN)
    return snapshot


def _ask(address: Address) -> dict[str, Any]:
    revision = quote(address.revision, safe="")
    url = f"{endpoint()}/api/models/{address.repository}/revision/{revision}?blobs=true"
    content = _read(url, address.repository)
    try:
        record: dict[str, Any] = records.parse(content)
        records.check(record, RepositoryRecord)
    except records.Damaged as error:
        raise UserError(f"{url} does not answer as the hub does: {error}") from None
    return record


def _snapshot(address: Address, record: Mapping[str, Any]) -> Snapshot:
    files = {each["rfilename"]: each for each in record["siblings"]}
    return Snapshot(address.repository, record["sha"], files)


def _read(url: str, repository: str) -> bytes:
    if os.environ.get("RESLAB_OFFLINE"):
        reason = "RESLAB_OFFLINE is set"
        raise web.NotRead(f"{url} is not in the cache, and {reason}", reason)
    try:
        return web.read(url, MOST_DESCRIPTION, _headers())
    except web.NotRead as error:
        if error.status in (401, 403, 404):
            token = "" if _headers() else ", or it is private: set HF_TOKEN"
            text = f"{endpoint()} has no model {repository} with this revision{token}"
            raise web.NotRead(text, error.reason, error.status) from None
        raise


def endpoint() -> str:
    """The address of the hub."""
    return os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")


def token() -> str | None:
    """HF_TOKEN, or the token of a person who has logged in on this machine."""
    if given := os.environ.get("HF_TOKEN", "").strip():
        return given
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import get_token

    return get_token()


def _headers() -> dict[str, str]:
    known = token()
    return {"Authorization": f"Bearer {known}"} if known else {}


def _folder(repository: str) -> Path:
    return download.cache_dir() / "weights" / "hub" / repository
