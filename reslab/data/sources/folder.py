"""A folder of class folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reslab.core.errors import UserError
from reslab.data import discovery
from reslab.data.dataset import Parts
from reslab.data.discovery import Kinds
from reslab.data.formats import SUFFIXES
from reslab.data.sources.files import Listing, Wanted, assemble
from reslab.data.sources.layout import Classes, understand


def load(root: Path, wanted: Wanted) -> Parts:
    """Use the parts of the folder, or split it, after all files were checked.

    Raises:
        UserError: no images, fewer than two classes, too few images of a class, classes that
            the training part does not have, or damaged files (unless `skip_bad`).
    """
    layout = understand(root, wanted.known)
    passed = layout.passed
    classes = tuple(sorted(layout.parts["train"]))
    files = {
        part: _listed(root, folders, classes, part, passed, wanted.by_suffix)
        for part, folders in layout.parts.items()
    }
    _check(root, files, layout.parts["train"], passed, wanted)
    names = [f"{part}/" for part in files]
    split = f"the parts of the folder: {' and '.join(names)}"
    facts = {"layout": layout.text, "passed_over": dict(sorted(passed.items()))}
    return assemble(Listing(root, root.name, classes, files, split, {}, facts), wanted)


def _check(
    root: Path,
    files: Mapping[str, tuple[list[str], list[int]]],
    train: Classes,
    passed: Kinds,
    wanted: Wanted,
) -> None:
    rest = f" ({text})" if (text := discovery.sentence(passed)) else ""
    if not train:
        images = passed.get("image outside the class folders", 0)
        content = "images, but no class folders" if images else "no class folders"
        raise UserError(f"{root} has {content}: put the images of each class into one folder{rest}")
    if not any(names for names, _ in files.values()):
        raise UserError(
            f"there are no images in {root}{rest} (looked for {', '.join(sorted(SUFFIXES))})"
        )
    if len(train) < 2 and wanted.known is None:
        (name,) = train
        raise UserError(f"{root} has one class, {name!r}; at least two are needed{rest}")


def _listed(
    root: Path,
    folders: Classes,
    classes: tuple[str, ...],
    part: str,
    passed: Kinds,
    by_suffix: bool,
) -> tuple[list[str], list[int]]:
    """The image files of each class, relative to root, and their labels."""
    if extra := [name for name in folders if name not in classes]:
        place = folders[extra[0]][0].parent
        raise UserError(f"{place} has the class {extra[0]!r}, which train/ does not have")
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for place in folders.get(name, ()):
            inside: Kinds = Kinds()
            files = discovery.pictures(place, inside)
            passed.update(inside)
            if by_suffix:
                files = [file for file in files if discovery.found_by_suffix(file, place)]
            if not files and part == "train" and (text := discovery.sentence(inside)):
                raise UserError(f"there are no images in {place} ({text})")
            names += [file.relative_to(root).as_posix() for file in files]
            labels += [label] * len(files)
    return names, labels
