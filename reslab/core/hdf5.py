"""Which HDF5 files are safe to read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from reslab.core import limits
from reslab.core.errors import UserError


def check(path: Path, root: Any) -> None:
    """Raise UserError for an HDF5 file that reads other files, or declares more than it has.

    Links are not followed: a link to another file, or a soft link, which may lead to one, is never
    in a file of Keras.
    """
    import h5py

    declared = 0

    def visit_link(name: str, link: Any) -> str | None:  # h5py loses what is raised in here
        return None if isinstance(link, h5py.HardLink) else name

    def visit(name: str, item: Any) -> str | None:
        nonlocal declared
        if not isinstance(item, h5py.Dataset):
            return None
        declared += math.prod(item.shape or (0,)) * item.dtype.itemsize
        return name if item.external or item.is_virtual else None

    if name := root.visititems_links(visit_link):
        raise UserError(f"{path} has a link at {name}, which may lead to another file: not read")
    if name := root.visititems(visit):
        raise UserError(
            f"{path}: {name} is not an array of numbers in the file itself: it is not read"
        )
    limits.check_unpacked(path, declared)
