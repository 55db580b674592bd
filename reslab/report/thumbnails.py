"""Small pictures of images that were predicted wrongly."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from reslab.plots import heat
from reslab.plots.plotly import middle_cut

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = 64  # pictures up to this width, in pixels, are enlarged without smoothing
MOST = 512  # pixels of the longer side of a picture with a map
COLOURS = 64  # in a picture with a map
MAP = "rows", "columns", "values"
NAME = 30  # letters of a file name below a picture; longer ones are cut in the middle


def thumbnail(mistake: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mistake with its picture as a data URL, or None if it has no valid PNG.

    `heat` is the picture with the map of the predicted class over it, None without a map.
    `where` is the whole path. `name` is shorter: without the folder of the true class.
    """
    try:
        png = base64.b64decode(mistake.get("png") or "", validate=True)
    except binascii.Error:
        png = b""
    width = int.from_bytes(png[16:20], "big") if png.startswith(PNG) else 0
    address = f"data:image/png;base64,{base64.b64encode(png).decode()}" if width else None
    stored = mistake.get("map")
    where = str(mistake.get("file") or f"image {mistake['index']}")
    name = middle_cut(where.removeprefix(f"{mistake['true']}/"), NAME)
    return {
        **mistake,
        "address": address,
        "heat": _heat(png, *map(stored.get, MAP)) if width and stored else None,
        "small": width <= SMALL,
        "where": where,
        "name": name,
    }


@lru_cache(1024)
def _heat(png: bytes, rows: int, columns: int, values: str) -> str | None:
    """The picture with the map of its predicted class over it, as a data URL."""
    try:
        levels = np.frombuffer(base64.b64decode(values, validate=True), np.uint8)
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            if max(picture.size) > MOST:
                return None
            pixels = np.asarray(picture.convert("RGB"))
        over = heat.overlay(pixels, levels.reshape(rows, columns) / 255)
    except (ValueError, OSError, SyntaxError):  # binascii.Error is a ValueError
        return None
    out = io.BytesIO()
    Image.fromarray(over).quantize(COLOURS).save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
