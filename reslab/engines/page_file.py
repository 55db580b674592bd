"""The model in a page that `reslab export --to page` wrote."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path

from reslab.core.errors import UserError
from reslab.core.paths import regular

_MODEL = re.compile(rb'<script id="model" type="text/plain">([A-Za-z0-9+/=]+)</script>')


def packed(content: bytes) -> str:
    """Bytes as they are in a page: compressed, in base64."""
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def model(path: Path) -> bytes:
    """The ONNX file in a page. Raises UserError for any other file."""
    try:
        text = _MODEL.search(regular(path).read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if text is None:
        raise UserError(f"{path} is no page that reslab exported, or it is damaged")
    try:
        return gzip.decompress(base64.b64decode(text[1]))
    except (ValueError, OSError, EOFError):
        raise UserError(f"{path} is damaged: its model cannot be read") from None
