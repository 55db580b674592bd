"""A folder of class folders: its layout."""

from __future__ import annotations

from pathlib import Path

from reslab.core.errors import UserError, written
from reslab.data.dataset import Parts
from reslab.data.images import IGNORED, SUFFIXES, listed, unread
from reslab.data.sources.files import Listing, Wanted, assemble

_VALIDATION = ("val", "valid", "validation")


def load(root: Path, wanted: Wanted) -> Parts:
    """Use the parts of the folder, or split it, after all files were checked.

    Raises:
        UserError: no images, fewer than two classes, too few images of a class, classes that
            differ between the parts, or damaged files (unless `skip_bad`).
    """
    folders = _part_folders(root)
    classes = tuple(sorted(p.name for p in _folders(folders["train"])))
    files = {part: _listed(folder, classes, part, root) for part, folder in folders.items()}
    if not any(names for names, _ in files.values()):
        raise UserError(f"there are no images in {root} (looked for {', '.join(sorted(SUFFIXES))})")
    if len(classes) < 2:
        raise UserError(
            f"{folders['train']} has one class, {classes[0]!r}; at least two are needed"
        )
    split = f"the parts of the folder: {' and '.join(f'{part}/' for part in files)}"
    return assemble(Listing(root, root.name, classes, files, split, {}, {}), wanted)


def _part_folders(root: Path) -> dict[str, Path]:
    """The folder of each part: train and its siblings, or `root` as train."""
    folders = {p.name.lower(): p for p in _folders(root)}
    validation = next((folders[v] for v in _VALIDATION if v in folders), None)
    if "train" not in folders:
        if validation and "test" in folders:
            raise UserError(f"{root} has {validation.name}/ and test/, but no train/")
        return {"train": root}
    parts = {"train": folders["train"]}
    if validation:
        parts["validation"] = validation
    if "test" in folders:
        parts["test"] = folders["test"]
    return parts


def _folders(parent: Path) -> list[Path]:
    try:
        paths = sorted(parent.iterdir())
    except OSError as error:
        raise UserError(f"cannot read {parent}: {error.strerror}") from error
    folders = [p for p in paths if p.is_dir() and p.name not in IGNORED and p.name[0] != "."]
    for path in folders:
        written(path.name)
    return folders


def _listed(
    folder: Path, classes: tuple[str, ...], part: str, root: Path
) -> tuple[list[str], list[int]]:
    """The image files in each class folder, relative to root, and their labels."""
    class_folders = {p.name: p for p in _folders(folder)}
    if not class_folders:
        has_images = any(p.suffix.lower() in SUFFIXES for p in folder.iterdir())
        content = "images, but no class folders" if has_images else "no class folders"
        raise UserError(f"{folder} has {content}: put the images of each class into one folder")
    if extra := sorted(set(class_folders) - set(classes)):
        raise UserError(f"{folder} has the class {extra[0]!r}, which train/ does not have")
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if part != "train" and name not in class_folders:
            raise UserError(f"{folder} has no folder for the class {name!r}, which train/ has")
        files = listed(class_folders[name])
        if not files and (unreadable := unread(class_folders[name])):
            raise UserError(f"{class_folders[name]} has {unreadable}")
        names += [file.relative_to(root).as_posix() for file in files]
        labels += [label] * len(files)
    return names, labels
