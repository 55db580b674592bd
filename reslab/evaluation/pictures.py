"""Small pictures for reports."""

from __future__ import annotations

import base64
import io

import numpy as np

SIDE = 96  # pixels: larger pictures are reduced


def png(image: np.ndarray) -> str:
    """A base64 PNG of an image, uint8 (h, w, 1 or 3)."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
