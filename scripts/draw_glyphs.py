"""Draw the masks of the data set `glyphs` from fonts, and gather the fonts' licences.

    scripts/install glyphs
    .venv/bin/python scripts/draw_glyphs.py

The dependency group `glyphs` pins the fonts and Pillow, whose FreeType rasterises them: the same
versions give the same masks everywhere. The script writes two files beside
reslab/data/sources/glyphs.py:

- glyphs.npz: for each face and character one mask, cropped to its ink. A capital H is 90 pixels
  high, and a pixel has one of 16 levels.
- glyphs_licences.txt: the copyright notices of all fonts, and the texts of their licences.

All fonts are under the SIL Open Font License 1.1, except Roboto Slab, which is under Apache 2.0.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CANVAS = 168  # 28 pixels of an image, with 6 pixels of the mask in each
CAPITAL = 90  # height of an H
BASELINE = 123  # leaves 45 below for descenders; some faces need more
MARGIN = 12  # stays free above and below: characters are shifted by 6 and rotated
LEVELS = 16

OUT = Path(__file__).parents[1] / "reslab/data/sources"


@dataclass(frozen=True)
class Family:
    """A font family. A face is a file name; variable fonts add `@` and the weight."""

    name: str
    faces: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The folder of the package fontpkg-NAME. Nothing of the package is imported."""
        spec = importlib.util.find_spec(f"fontpkg_{self.name.replace('-', '_')}")
        if spec is None or spec.origin is None:
            sys.exit(f"fontpkg-{self.name} is not installed: run scripts/install glyphs")
        return Path(spec.origin).parent


def variable(
    name: str, stem: str, *weights: int, axes: str = "wght", italic: bool = True
) -> Family:
    """Upright at each weight, and italic at the first one."""
    faces = [f"{stem}[{axes}].ttf@{weight}" for weight in weights]
    if italic:
        faces.append(f"{stem}-Italic[{axes}].ttf@{weights[0]}")
    return Family(name, tuple(faces))


def static(name: str, stem: str, *styles: str) -> Family:
    return Family(name, tuple(f"{stem}-{style}.ttf" for style in styles))


RBI = ("Regular", "Bold", "Italic")

# Families that belong together (Roboto and Roboto Slab, PT Sans and PT Serif) are in one part, so
# that no font of validation or test has a sibling in training. Every part has sans-serif, serif,
# slab, monospaced and handwritten fonts.
FAMILIES = {
    "train": (
        static("abeezee", "ABeeZee", "Regular", "Italic"),
        static("abril-fatface", "AbrilFatface", "Regular"),
        static("alfa-slab-one", "AlfaSlabOne", "Regular"),
        static("barlow-condensed", "BarlowCondensed", *RBI),
        variable("bitter", "Bitter", 400, 700),
        static("chakra-petch", "ChakraPetch", *RBI),
        variable("comfortaa", "Comfortaa", 400, 700, italic=False),
        static("crimson-text", "CrimsonText", *RBI),
        variable("dancing-script", "DancingScript", 400, 700, italic=False),
        variable("eb-garamond", "EBGaramond", 400, 700),
        variable("fredoka", "Fredoka", 400, 700, axes="wdth,wght", italic=False),
        static("ibm-plex-mono", "IBMPlexMono", *RBI),
        static("indie-flower", "IndieFlower", "Regular"),
        variable("josefin-sans", "JosefinSans", 400, 700),
        static("kalam", "Kalam", "Regular", "Bold"),
        static("lobster", "Lobster", "Regular"),
        variable("nunito", "Nunito", 400, 700),
        variable("open-sans", "OpenSans", 400, 700, axes="wdth,wght"),
        variable("playfair-display", "PlayfairDisplay", 400, 700),
        static("pt-sans", "PT_Sans-Web", *RBI),
        static("pt-serif", "PT_Serif-Web", *RBI),
        variable("raleway", "Raleway", 400, 700),
        static("righteous", "Righteous", "Regular"),
        variable("roboto", "Roboto", 400, 700, axes="wdth,wght"),
        variable("roboto-slab", "RobotoSlab", 400, 700, italic=False),
        Family("shadows-into-light", ("ShadowsIntoLight.ttf",)),
        static("spectral", "Spectral", *RBI),
    ),
    "validation": (
        static("delius", "Delius", "Regular"),
        variable("libre-baskerville", "LibreBaskerville", 400, 700),
        variable("montserrat", "Montserrat", 400, 700),
        variable("oswald", "Oswald", 400, 700, italic=False),
        static("space-mono", "SpaceMono", *RBI),
        static("zilla-slab", "ZillaSlab", *RBI),
    ),
    "test": (
        static("arvo", "Arvo", *RBI),
        variable("caveat", "Caveat", 400, 700, italic=False),
        variable("exo-2", "Exo2", 400, 700),
        variable("lora", "Lora", 400, 700),
        variable("source-code-pro", "SourceCodePro", 400, 700),
        variable("vollkorn", "Vollkorn", 400, 700),
        variable("work-sans", "WorkSans", 400, 700),
    ),
}


def main() -> None:
    # A zip entry written by NumPy has a fixed date, so that the file depends on its arrays alone.
    np.savez_compressed(OUT / "glyphs.npz", **draw())
    (OUT / "glyphs_licences.txt").write_text(licences(), encoding="utf-8", newline="\n")


def draw() -> dict[str, np.ndarray]:
    """Draw all masks.

    Returns:
        `faces`: str (98,), "part/family/face". `tops`, `heights` and `widths`: uint8 (98, 62),
        the first row of each mask on a canvas of 168 rows, and its shape. `levels`: uint8, the
        pixels of all masks, 0 to 15, one mask after the other.
    """
    faces, boxes, levels = [], [], []
    for part, families in FAMILIES.items():
        for family in families:
            for face in family.faces:
                faces.append(f"{part}/{family.name}/{face}")
                for top, mask in masks(family.folder / "files", face):
                    boxes.append((top, *mask.shape))
                    levels.append(mask.ravel())
    shapes = np.array(boxes, np.uint8).reshape(len(faces), len(CHARACTERS), 3)
    tops, heights, widths = np.moveaxis(shapes, 2, 0)
    return {
        "faces": np.array(faces),
        "tops": tops.copy(),
        "heights": heights.copy(),
        "widths": widths.copy(),
        "levels": np.concatenate(levels),
    }


def masks(folder: Path, face: str) -> list[tuple[int, np.ndarray]]:
    """For each character the first row of its mask on the canvas, and the mask."""
    file, _, weight = face.partition("@")
    font, baseline = scaled(folder / file, weight)
    cropped = []
    for character in CHARACTERS:
        image = Image.new("L", (2 * CANVAS, CANVAS))
        ImageDraw.Draw(image).text(
            (CANVAS / 2, baseline), character, fill=255, font=font, anchor="ls"
        )
        levels = np.rint(np.asarray(image) / 255 * (LEVELS - 1)).astype(np.uint8)
        rows, columns = (np.flatnonzero(levels.any(axis)) for axis in (1, 0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        cropped.append((int(rows[0]), levels[box]))
    return cropped


def scaled(path: Path, weight: str) -> tuple[ImageFont.FreeTypeFont, int]:
    """The font at the size at which its H has the height CAPITAL, and the row of its baseline.

    A font whose characters would not fit on the canvas gets a smaller size.
    """
    font = opened(path, CAPITAL, weight)
    # Twice, because the height of the H is only nearly proportional to the size.
    for _ in range(2):
        font = opened(path, font.size * CAPITAL / extent(font, "H")[0], weight)
    above, below = extent(font, CHARACTERS)
    room = CANVAS - 2 * MARGIN
    if above + below > room:
        font = opened(path, math.floor(font.size * room / (above + below)), weight)
        above, below = extent(font, CHARACTERS)
    return font, round(max(above + MARGIN, min(BASELINE, CANVAS - MARGIN - below)))


def opened(path: Path, size: float, weight: str) -> ImageFont.FreeTypeFont:
    """The font at a whole size. A variable font gets this weight; other axes keep their default."""
    font = ImageFont.truetype(str(path), round(size), layout_engine=ImageFont.Layout.BASIC)
    if weight:
        axes = font.get_variation_axes()
        font.set_variation_by_axes(
            [float(weight) if a["name"] == b"Weight" else float(a["default"] or 0) for a in axes]
        )
    return font


def extent(font: ImageFont.FreeTypeFont, characters: str) -> tuple[float, float]:
    """The largest distances of the characters above and below the baseline."""
    boxes = [font.getbbox(c, anchor="ls") for c in characters]
    return -min(box[1] for box in boxes), max(box[3] for box in boxes)


def licences() -> str:
    """One text: each licence once, after the notices of the fonts that it covers."""
    fonts: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    for family in sorted((f for part in FAMILIES.values() for f in part), key=lambda f: f.name):
        whole = (family.folder / "LICENSE").read_text(encoding="utf-8-sig")
        whole = "\n".join(line.rstrip() for line in whole.splitlines())
        # The notice ends where the body begins: a rule, then the title of the licence.
        notice, rule, body = whole.partition("-----------")
        if not rule:  # the Apache License has no place for a notice
            metadata = json.loads((family.folder / "metadata.json").read_text(encoding="utf-8"))
            notice, body = metadata["copyright"], whole
        body = (rule + body).strip("\n")
        same = re.sub(r"\W+", " ", body)
        texts.setdefault(same, body)
        copyright_lines = notice.partition("This Font Software")[0].strip()
        fonts.setdefault(same, []).append(f"{family.name}\n{copyright_lines}".strip())
    head = "The masks in glyphs.npz were drawn from these fonts. Each is under the licence that"
    parts = [f"{head}\nfollows its name."]
    for same, text in texts.items():
        parts += ["=" * 80, *fonts[same], text]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
