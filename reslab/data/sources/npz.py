"""Arrays of an .npz file, within limits."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterable
from tokenize import TokenError

import numpy as np
from numpy.lib import format as npy

from reslab.core.records import Damaged

MOST_BYTES = 2**29  # of the arrays of a file together; the cache of glyphs has 43 million


def read(content: bytes, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of these names, from the content of the file.

    Raises Damaged if one is missing or damaged, or if they declare more than `MOST_BYTES`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.getinfo(f"{name}.npy") for name in names}
            if sum(member.file_size for member in members.values()) > MOST_BYTES:
                raise Damaged(f"it declares more than {MOST_BYTES:,} bytes of arrays")
            return {name: _array(archive, member) for name, member in members.items()}
    except Damaged:
        raise
    except (
        *(OSError, ValueError, KeyError, TypeError, EOFError, SyntaxError, OverflowError),
        *(MemoryError, RuntimeError, AttributeError, zlib.error, zipfile.BadZipFile, TokenError),
    ) as error:
        raise Damaged(f"no .npz file of {', '.join(names)}: {type(error).__name__}") from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell() or dtype.hasobject:
            raise Damaged(f"{member.filename} is not as long as it says")
    with archive.open(member) as file:
        array: np.ndarray = npy.read_array(file, allow_pickle=False)
        return array
