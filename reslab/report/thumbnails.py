"""Small pictures of images that were predicted wrongly."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from reslab.plots.plotly import middle_cut

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = 64  # pictures up to this width, in pixels, are enlarged without smoothing
NAME = 30  # letters of a file name below a picture; longer ones are cut in the middle


def thumbnail(mistake: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mistake with its picture as a data URL, or None if it has no valid PNG.

    `where` is the whole path. `name` is shorter: without the folder of the true class.
    """
    try:
        png = base64.b64decode(mistake.get("png") or "", validate=True)
    except binascii.Error:
        png = b""
    width = int.from_bytes(png[16:20], "big") if png.startswith(PNG) else 0
    address = f"data:image/png;base64,{base64.b64encode(png).decode()}" if width else None
    where = str(mistake.get("file") or f"image {mistake['index']}")
    name = middle_cut(where.removeprefix(f"{mistake['true']}/"), NAME)
    return {**mistake, "address": address, "small": width <= SMALL, "where": where, "name": name}
