"""Find the pictures in a folder, and count what is passed over, by kind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from reslab.core.errors import UserError, written
from reslab.core.files import FOLDS_FILE, RUN_FILE, SEEDS_FILE, STUDY_FILE

from . import formats
from .formats import AVIF_SUFFIXES, HEIC, HEIC_SUFFIXES, PREFIX, SUFFIXES, UNREAD

IGNORED = frozenset(("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"))
SYSTEM_FILES = frozenset(("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"))
OWN_FILES = frozenset((RUN_FILE, SEEDS_FILE, FOLDS_FILE, STUDY_FILE))
OWN_FOLDER = "folder of runs or studies"
LINKED_TWICE = "linked folder that was read already"
WITHOUT_SUFFIX = "file without a suffix"
UNREADABLE = "file that cannot be opened"
MOST_KINDS = 6  # in a sentence

Kinds = Counter[str]  # how many files and folders were passed over, by kind


def pictures(folder: Path, passed: Kinds) -> list[Path]:
    """The pictures in a folder and its subfolders, sorted. Also folders behind links are read.

    Files with the suffix of a picture count as pictures. Of the others the first bytes decide.

    Args:
        folder: Where to look.
        passed: Counts what is passed over.

    Raises:
        UserError: a name is not UTF-8, a folder cannot be read, or a link leads back to a folder
            that it is in.
    """
    paths: list[Path] = []
    read: set[tuple[int, int]] = set()
    around = {*folder.absolute().parents, *folder.resolve().parents}
    waiting = [(folder, frozenset(map(_identity, around)))]
    while waiting:
        parent, above = waiting.pop()
        key = _identity(parent)
        if key in above:
            raise UserError(f"{parent} is a link to a folder that it is in: remove the link")
        if key in read:
            passed[LINKED_TWICE] += 1
            continue
        read.add(key)
        files, folders = entries(parent, passed)
        if any(file.name in OWN_FILES for file in files) and parent != folder:
            passed[OWN_FOLDER] += 1
            continue
        paths += chosen(files, passed)
        waiting += [(inner, above | {key}) for inner in folders]
    paths.sort()
    for path in paths:
        written(str(path))
    return paths


def found_by_suffix(path: Path, folder: Path) -> bool:
    """Whether earlier versions found a picture in a class folder: they went by its suffix.

    They did not read AVIF, nor what is in linked folders below the class folder.
    """
    if path.suffix.lower() not in SUFFIXES - AVIF_SUFFIXES:
        return False
    between = path.relative_to(folder).parents
    return not any((folder / inner).is_symlink() for inner in between if inner.parts)


def has_pictures(folder: Path) -> bool:
    """Whether there is a picture in a folder or in its subfolders."""
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(folder, frozenset())]
    while waiting:
        parent, above = waiting.pop()
        if (key := _identity(parent)) in above:
            continue
        files, folders = entries(parent, Counter())
        if any(file.name in OWN_FILES for file in files):
            continue
        if any_picture(files):
            return True
        waiting += [(inner, above | {key}) for inner in folders]
    return False


def is_own(folder: Path) -> bool:
    """Whether reslab wrote a folder: a run, a study, or a folder with nothing else in it."""
    files, folders = entries(folder, Counter())
    if any(file.name in OWN_FILES for file in files):
        return True
    return bool(folders) and not files and all(is_own(inner) for inner in folders)


def entries(folder: Path, passed: Kinds) -> tuple[list[Path], list[Path]]:
    """The files and the folders in a folder, sorted, without what is hidden or of the system."""
    try:
        with os.scandir(folder) as scanned:
            paths = sorted((folder / entry.name, entry.is_dir()) for entry in scanned)
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}") from error
    files, folders = [], []
    for path, is_folder in paths:
        what = "folder" if is_folder else "file"
        if path.name[0] == ".":
            passed[f"hidden {what}"] += 1
        elif path.name in IGNORED or path.name.lower() in SYSTEM_FILES:
            passed[f"system {what}"] += 1
        elif is_folder:
            written(path.name)
            folders.append(path)
        else:
            files.append(path)
    return files, folders


def chosen(files: list[Path], passed: Kinds) -> list[Path]:
    """The pictures among these files."""
    kinds = [_kind(file) for file in files]
    passed.update(kind for kind in kinds if kind)
    return [file for file, kind in zip(files, kinds, strict=True) if not kind]


def any_picture(files: list[Path]) -> bool:
    """Whether one of these files is a picture."""
    return any(not _kind(file) for file in files)


def sentence(passed: Mapping[str, int]) -> str:
    """Such as "passed over: 3 .txt files, 1 hidden folder"; empty if nothing was."""
    if not passed:
        return ""
    kinds = sorted(passed.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{count:,} {kind if count == 1 else plural(kind)}" for kind, count in kinds]
    if len(parts) > MOST_KINDS:
        rest = sum(count for _, count in kinds[MOST_KINDS:])
        parts[MOST_KINDS:] = [f"{rest:,} of other kinds"]
    return f"passed over: {', '.join(parts)}"


def plural(kind: str) -> str:
    """The kind with its noun in the plural."""
    for noun in ("file", "folder", "picture", "link", "image"):
        if f" {noun} " in f" {kind} ":
            return f" {kind} ".replace(f" {noun} ", f" {noun}s ", 1).strip()
    return kind


def _kind(path: Path) -> str:
    """Why a file is passed over; empty for a picture."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return ""
    if suffix in UNREAD:
        return f"{suffix} picture in a format that is not read"
    if path.is_symlink() and not path.exists():
        return "broken link"
    if not path.is_file():  # opening a pipe may wait for ever
        return "special file"
    try:
        with path.open("rb") as file:
            name = formats.recognise(file.read(PREFIX))
    except OSError:
        return UNREADABLE
    if name is None and suffix in HEIC_SUFFIXES:
        name = HEIC
    if name is None:
        return f"{suffix} file" if suffix else WITHOUT_SUFFIX
    reason = formats.problem(name)
    return reason.replace(name, f"{name} picture", 1) if reason else ""


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}") from error
    return status.st_dev, status.st_ino
