"""The layout of a folder of images: which folders are parts, and which are classes.

Parts have the names that public data sets use, in any case, and all of them may have the same text
before or after it (set_train and set_test; train_images and val_images). They may be in a folder
around them, or doubled (train/train), as archives are unpacked. What may mean two things is
refused.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from reslab.core.errors import UserError
from reslab.data import discovery
from reslab.data.class_names import normal
from reslab.data.dataset import PARTS
from reslab.data.discovery import Kinds

_LONGEST_FIRST = "|".join(sorted(PARTS, key=len, reverse=True))
_NAME = re.compile(
    rf"(?P<before>(?:.*[^a-z])?)(?P<word>{_LONGEST_FIRST})"
    r"(?P<after>(?:[^a-z].*|sets?|data|images?|imgs?|dir|folder)?)",
    re.DOTALL,
)
_UNLABELLED = re.compile(r"(un(labell?ed|sup(ervised)?|known)|pred(ict(ions?)?)?)")
OUTSIDE = "image outside the class folders"
Classes = dict[str, list[Path]]  # the folders of each class; several if their names are equal
Affix = tuple[str, str]


@dataclass
class Layout:
    """What was understood.

    Attributes:
        parts: The class folders of "train", and perhaps of "validation" and "test".
        text: A description in one line.
        passed: What was passed over so far, by kind.
    """

    parts: dict[str, Classes]
    text: str
    passed: Kinds = field(default_factory=Counter)


def part_of(name: str) -> tuple[str, Affix] | None:
    """The part that a folder's name says, and the text before and after the word.

    None for other names, and for words that contain one of the words, such as "trainers".
    """
    match = _NAME.fullmatch(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", normal(name)).lower())
    return match and (PARTS[match["word"]], (match["before"], match["after"]))


def understand(root: Path, known: Sequence[str] | None = None) -> Layout:
    """The layout of a folder.

    Args:
        root: The folder of the data.
        known: The names of the classes, if they are known already.

    Raises:
        UserError: There are no class folders, or the layout may mean two things.
    """
    return _Reader(root, None if known is None else {normal(name) for name in known}).layout()


class _Reader:
    def __init__(self, root: Path, known: set[str] | None) -> None:
        self.root, self.known = root, known
        self.passed: Kinds = Counter()
        self.unused: list[str] = []

    def layout(self) -> Layout:
        base = self._unwrapped(self.root)
        folders = self._folders(base)
        group = self._part_folders(base, folders)
        if group is None:
            parts, text = self._of_classes(base, folders), ""
        else:
            parts, text = self._of_parts(base, folders, group)
        parts = {part: _without_own(classes, self.passed) for part, classes in parts.items()}
        text = text or self._text_of_classes(base, parts)
        if doubled := [n for c in parts.values() for n, paths in c.items() if len(paths) > 1]:
            names = ", ".join(sorted(set(doubled)))
            text += f"; folders with the same name in Unicode are one class: {names}"
        if self.unused:
            text += f"; not used: {', '.join(self.unused)}"
        return Layout(parts, text, self.passed)

    def _unwrapped(self, folder: Path) -> Path:
        """The folder, or the only one in it that has images, if its images are further down."""
        while not _images(folder):
            folders = self._folders(folder)
            inside = _populated(folders)
            if len(inside) != 1 or _images(inside[0]) or self._is_class(inside[0]):
                break
            if any(part_of(other.name) for other in folders if other != inside[0]):
                break  # a part without images
            if not _populated(self._folders(inside[0])):
                break
            folder = inside[0]
        return folder

    def _is_class(self, folder: Path) -> bool:
        return self.known is not None and normal(folder.name) in self.known

    def _folders(self, parent: Path) -> list[Path]:
        _, folders = discovery.entries(parent, Counter())
        return [folder for folder in folders if not discovery.is_own(folder)]

    def _part_folders(self, base: Path, folders: list[Path]) -> dict[str, Path] | None:
        """The folder of each part; None if the folders are classes."""
        groups: dict[Affix, list[tuple[str, Path]]] = defaultdict(list)
        for folder in folders:
            if match := part_of(folder.name):
                groups[match[1]].append((match[0], folder))
        groups = {
            affix: members
            for affix, members in groups.items()
            if affix == ("", "") or _is_group([part for part, _ in members])
        }
        members = [member for group in groups.values() for member in group]
        if not members:
            for folder in folders:
                if part_of(folder.name) and self._holds_classes(folder):
                    self._refuse(base, [folder], "is named like a part and holds folders of images")
            return None
        if len(groups) > 1 or len({part for part, _ in members}) < len(members):
            self._refuse(base, [p for _, p in members], "are named like one and the same part")
        parts = dict(members)
        others = _populated([f for f in folders if f not in parts.values()])
        if "train" not in parts:
            return self._without_train(base, parts, others)
        return parts if self._are_parts(base, parts, others) else None

    def _are_parts(self, base: Path, parts: dict[str, Path], others: list[Path]) -> bool:
        """Whether folders with the names of parts are parts; False if they are classes."""
        train = self._inner(parts["train"])
        if not self._holds_classes(train):
            if not others:
                content = "images, but no class folders" if _images(train) else "no class folders"
                raise UserError(
                    f"{train} has {content}: put the images of each class into one folder"
                )
            if len(parts) > 1:
                self._refuse(base, [*parts.values(), *others], "may be classes or parts")
            return False
        flat = [f for f in others if _images(f) and not _UNLABELLED.search(f.name.lower())]
        named = [f for f in others if part_of(f.name) and self._holds_classes(self._inner(f))]
        if named or (flat and len(parts) == 1):
            self._refuse(base, [train, *(named or flat)], "may be classes or parts")
        self._leave_out(others)
        return True

    def _without_train(
        self, base: Path, parts: dict[str, Path], others: list[Path]
    ) -> dict[str, Path] | None:
        """Class folders beside test/ or val/ are the training part, if the classes are the same."""
        if not others:
            if len(parts) > 1:
                names = " and ".join(f"{path.name}/" for path in parts.values())
                raise UserError(f"{base} has {names}, but no train/")
            (part,) = parts.values()
            return parts if self._holds_classes(part) and not self._is_class(part) else None
        classes = {normal(folder.name) for folder in others}
        for folder in parts.values():
            inner = self._inner(folder, classes)
            inside = {normal(each.name) for each in _populated(self._folders(inner))}
            if self._is_class(folder) and not inside:
                return None
            if not inside or not inside <= classes:
                self._refuse(base, [folder, *others], "may be classes or parts")
        return parts

    def _of_classes(self, base: Path, folders: list[Path]) -> dict[str, Classes]:
        """Class folders; or in each of them the parts, if all have train/ and others in it."""
        inner = {f: {i.name.lower(): i for i in _populated(self._folders(f))} for f in folders}
        with_parts = [
            folder
            for folder, names in inner.items()
            if not _images(folder)
            and len(names) > 1
            and "train" in [PARTS.get(name) for name in names]
        ]
        if with_parts and all(
            f in with_parts and all(name in PARTS for name in names) for f, names in inner.items()
        ):
            parts: dict[str, Classes] = {}
            for folder, names in inner.items():
                for name, path in names.items():
                    classes = parts.setdefault(PARTS[name], {})
                    classes.setdefault(normal(folder.name), []).append(path)
            return parts
        if with_parts:
            self._refuse(with_parts[0], list(inner[with_parts[0]].values()), "may be parts")
        self._pass_files(base)
        return {"train": _by_name(folders)}

    def _of_parts(
        self, base: Path, folders: list[Path], group: dict[str, Path]
    ) -> tuple[dict[str, Classes], str]:
        self._pass_files(base)
        parts: dict[str, Classes] = {}
        places: list[str] = []
        if "train" in group:
            train = self._inner(group["train"])
            parts["train"] = _by_name(self._folders(train))
            places.append(self._place(train))
            self._pass_files(train)
        else:
            classes = [f for f in folders if f not in group.values()]
            if classes:
                parts["train"] = _by_name(classes)
                places.append(self._place(base))
        for part in ("validation", "test"):
            if part in group and (held_out := self._held_out(group[part], parts.get("train"))):
                parts[part if "train" in parts else "train"] = _by_name(self._folders(held_out))
                places.append(self._place(held_out))
        return parts, f"layout: class folders in {' and '.join(places)}"

    def _held_out(self, folder: Path, train: Classes | None) -> Path | None:
        """The folder with the class folders of a part; None if its images have no labels."""
        classes = set(train or ())
        inner = self._inner(folder, classes)
        inside = _populated(self._folders(inner))
        named = [f for f in inside if normal(f.name) in classes]
        alone = len(inside) == 1 and train is not None and not named
        if inside and not (alone and not _populated(self._folders(inside[0]))):
            self._pass_files(inner)
            return inner
        if not discovery.has_pictures(folder):
            if train is not None and self._folders(inner):
                return inner  # empty class folders: the part has no images
            raise UserError(f"{folder} has no class folders: put the images into class folders")
        count = len(discovery.pictures(folder, Counter()))
        self.unused.append(f"{self._place(folder)} ({count:,} images without class folders)")
        return None

    def _inner(self, folder: Path, classes: Iterable[str] = ()) -> Path:
        """The folder, or the one in it that holds everything: train/train, train/images."""
        classes = {*classes, *(self.known or ())}
        while not _images(folder):
            inside = _populated(self._folders(folder))
            if len(inside) != 1 or normal(inside[0].name) in classes:
                break
            same = part_of(inside[0].name) == part_of(folder.name)
            wraps = not _images(inside[0]) and bool(_populated(self._folders(inside[0])))
            if not (same and part_of(folder.name)) and not wraps:
                break
            folder = inside[0]
        return folder

    def _holds_classes(self, folder: Path) -> bool:
        return bool(_populated(self._folders(folder)))

    def _leave_out(self, folders: list[Path]) -> None:
        for folder in folders:
            count = len(discovery.pictures(folder, Counter()))
            images = "1 image" if count == 1 else f"{count:,} images"
            self.unused.append(f"{self._place(folder)} ({images})")

    def _pass_files(self, folder: Path) -> None:
        """Count the files beside class folders."""
        files, _ = discovery.entries(folder, self.passed)
        self.passed[OUTSIDE] += len(discovery.chosen(files, self.passed))
        self.passed += Counter()  # removes zeros

    def _place(self, folder: Path) -> str:
        relative = folder.relative_to(self.root).as_posix()
        return f"{self.root.name}/" if relative == "." else f"{relative}/"

    def _text_of_classes(self, base: Path, parts: dict[str, Classes]) -> str:
        count = len(parts["train"])
        folders = "1 class folder" if count == 1 else f"{count:,} class folders"
        if len(parts) > 1:
            return f"layout: {folders} with {' and '.join(parts)} in each"
        return f"layout: {folders} in {self._place(base)}"

    def _refuse(self, base: Path, folders: list[Path], why: str) -> NoReturn:
        names = [f"{folder.name}/" for folder in folders]
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        raise UserError(
            f"{base}: {shown} {why}: rename the folders, or give the folder of the training images "
            "as data and that of the test images with --test"
        )


def _is_group(parts: list[str]) -> bool:
    """Whether folders with the same text around the word are parts: train and another one."""
    return "train" in parts and len(set(parts)) > 1


def _by_name(folders: list[Path]) -> Classes:
    classes: Classes = {}
    for folder in folders:
        classes.setdefault(normal(folder.name), []).append(folder)
    return classes


def _without_own(classes: Classes, passed: Kinds) -> Classes:
    """The classes without folders in which there is nothing but runs and studies."""
    kept = {}
    for name, folders in classes.items():
        inside: Kinds = Counter()
        if not _populated(folders):
            for folder in folders:
                discovery.pictures(folder, inside)
            if inside[discovery.OWN_FOLDER]:
                passed[discovery.OWN_FOLDER] += inside[discovery.OWN_FOLDER]
                continue
        kept[name] = folders
    return kept


def _images(folder: Path) -> bool:
    """Whether there are pictures directly in a folder."""
    files, _ = discovery.entries(folder, Counter())
    return discovery.any_picture(files)


def _populated(folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if discovery.has_pictures(folder)]
