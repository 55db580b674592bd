"""Pictures with the map of their class over them, as files in a folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from reslab.core.files import write, writing
from reslab.data import images
from reslab.data.scale import GreyScale
from reslab.evaluation.inputs import Input
from reslab.evaluation.predictor import Predictor
from reslab.plots import heat
from reslab.plots.format import percent

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFont import FreeTypeFont

LONGER, SHORTER = 1024, 400  # pixels of the longer side; small pictures are enlarged to the other
TEXT, MARGIN = 16, 10  # pixels
RAMP = 120, 10  # width and height of the colour scale in pixels
INK, SOFT = (26, 29, 33), (91, 99, 109)


class Heatmaps:
    """A folder of pictures with their maps.

    The files are named after the pictures: `NAME-heatmap.jpg`.
    """

    def __init__(self, folder: str | Path, predictor: Predictor) -> None:
        """Make the folder. Raises UserError if that fails, or the model has no maps."""
        self.folder, self.predictor = Path(folder), predictor
        self.compute, self.method = predictor.maps()
        self._names: set[str] = set()
        with writing(self.folder, "give another folder"):
            self.folder.mkdir(parents=True, exist_ok=True)

    def write(
        self, given: Sequence[Input], pixels: Sequence[np.ndarray], outputs: np.ndarray
    ) -> list[str]:
        """Write one picture for each image, with the map of its most probable class.

        Args:
            given: The images.
            pixels: What the predictor read of them, of one size.
            outputs: The outputs of the model, (n, classes).

        Returns:
            The paths of the files.
        """
        classes = outputs.argmax(-1)
        maps = self.compute(np.stack(pixels), classes)
        names = self.predictor.card["classes"]
        paths = []
        for image, output, index, values in zip(given, outputs, classes, maps, strict=True):
            title = names[index], percent(float(output[index]))
            picture = self._drawn(image, values, title)
            path = self.folder / self._name(image.name)
            write(path, partial(picture.save, format="JPEG", quality=92))
            paths.append(str(path))
        return paths

    def _drawn(self, image: Input, values: np.ndarray, title: tuple[str, str]) -> Picture:
        from PIL import Image

        scale = GreyScale.of(self.predictor.card.get("scale"))
        photo = images.open_picture(image.open(), LONGER // 2, scale).convert("RGB")
        longer = max(photo.size)
        factor = LONGER / longer if longer > LONGER else max(1, -(-SHORTER // longer))
        size = max(1, round(photo.width * factor)), max(1, round(photo.height * factor))
        how = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BICUBIC
        left, top, right, bottom = self.predictor.seen(*photo.size)
        box = factor * left, factor * top, factor * right, factor * bottom
        over = heat.overlay(np.asarray(photo.resize(size, how)), values, box)
        border = box[2] - box[0] < 0.99 * size[0] or box[3] - box[1] < 0.99 * size[1]
        return captioned(Image.fromarray(over), title, self.method, border)

    def _name(self, name: str) -> str:
        stem = PurePosixPath(urlsplit(name).path).stem if "://" in name else Path(name).stem
        stem = re.sub(r"[^\w.-]+", "-", stem).strip("-") or "image"
        unique, number = stem, 1
        while unique in self._names:
            number += 1
            unique = f"{stem}-{number}"
        self._names.add(unique)
        return f"{unique}-heatmap.jpg"


def captioned(picture: Picture, title: tuple[str, str], method: str, border: bool) -> Picture:
    """A picture with a class, its probability and the legend of its map below it.

    `border` says whether the model sees less than the whole picture.
    """
    from PIL import Image, ImageDraw

    width = max(picture.width, SHORTER)
    below = 3 * TEXT + 5 * MARGIN
    canvas = Image.new("RGB", (width, picture.height + below), "white")
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    bold, plain = _font(TEXT, bold=True), _font(TEXT - 3)
    y = picture.height + MARGIN
    draw.text((MARGIN, y), _fitting(*title, bold, width - 2 * MARGIN), INK, bold)
    y += TEXT + MARGIN
    draw.text((MARGIN, y), "less", SOFT, plain)
    x = MARGIN + round(plain.getlength("less ")) + 4
    ramp = Image.fromarray(heat.colours()[None]).resize(RAMP)
    canvas.paste(ramp, (x, y + 4))
    draw.text((x + RAMP[0] + 8, y), "more: where it sees this class", SOFT, plain)
    y += TEXT + MARGIN // 2
    text = method if not border else f"{method}; the model does not see the dark border"
    draw.text((MARGIN, y), text[0].upper() + text[1:], SOFT, plain)
    return canvas


def _font(size: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, a part of matplotlib."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def _fitting(name: str, rest: str, font: FreeTypeFont, width: int) -> str:
    """A name with what follows it; a long name is cut."""
    name = " ".join(name.split())
    text = f"{name} {rest}"
    while font.getlength(text) > width and name:
        name = name[:-1]
        text = f"{name}… {rest}"
    return text
