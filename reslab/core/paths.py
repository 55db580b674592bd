"""What a path leads to, before it is opened."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def regular(path: Path) -> Path:
    """The path, if it leads to a regular file, perhaps by links.

    Opening a pipe may wait for ever, and a device may never end.

    Raises:
        OSError: It leads to nothing, to a folder, or to a pipe, a socket or a device. `strerror`
            says which.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
    return path
