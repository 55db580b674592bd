"""The typefaces of `glyphs`: forty families, each in a package of its own.

All are under the SIL Open Font License 1.1, but Roboto Slab, which is under Apache 2.0.

The packages are `fontpkg-NAME`; they are found by their specs, and nothing of them is imported.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from reslab.core.errors import UserError


@dataclass(frozen=True)
class Family:
    """A family and its faces: file names, for variable fonts with `@` and the weight."""

    name: str
    faces: tuple[str, ...]

    @property
    def package(self) -> str:
        return f"fontpkg-{self.name}"


def _variable(
    name: str, stem: str, *weights: int, axes: str = "wght", italic: bool = True
) -> Family:
    """Upright at each weight, and italic at the first one."""
    faces = [f"{stem}[{axes}].ttf@{weight}" for weight in weights]
    if italic:
        faces.append(f"{stem}-Italic[{axes}].ttf@{weights[0]}")
    return Family(name, tuple(faces))


def _static(name: str, stem: str, *styles: str) -> Family:
    return Family(name, tuple(f"{stem}-{style}.ttf" for style in styles))


_RBI = ("Regular", "Bold", "Italic")

# Families that were drawn to go together (Roboto and Roboto Slab, PT Sans and PT Serif) are in one
# part, so that nothing in validation and test has a sibling in training. Every part has sans,
# serif, slab, fixed-width and handwritten type.
TRAIN: tuple[Family, ...] = (
    _static("abeezee", "ABeeZee", "Regular", "Italic"),
    _static("abril-fatface", "AbrilFatface", "Regular"),
    _static("alfa-slab-one", "AlfaSlabOne", "Regular"),
    _static("barlow-condensed", "BarlowCondensed", *_RBI),
    _variable("bitter", "Bitter", 400, 700),
    _static("chakra-petch", "ChakraPetch", *_RBI),
    _variable("comfortaa", "Comfortaa", 400, 700, italic=False),
    _static("crimson-text", "CrimsonText", *_RBI),
    _variable("dancing-script", "DancingScript", 400, 700, italic=False),
    _variable("eb-garamond", "EBGaramond", 400, 700),
    _variable("fredoka", "Fredoka", 400, 700, axes="wdth,wght", italic=False),
    _static("ibm-plex-mono", "IBMPlexMono", *_RBI),
    _static("indie-flower", "IndieFlower", "Regular"),
    _variable("josefin-sans", "JosefinSans", 400, 700),
    _static("kalam", "Kalam", "Regular", "Bold"),
    _static("lobster", "Lobster", "Regular"),
    _variable("nunito", "Nunito", 400, 700),
    _variable("open-sans", "OpenSans", 400, 700, axes="wdth,wght"),
    _variable("playfair-display", "PlayfairDisplay", 400, 700),
    _static("pt-sans", "PT_Sans-Web", *_RBI),
    _static("pt-serif", "PT_Serif-Web", *_RBI),
    _variable("raleway", "Raleway", 400, 700),
    _static("righteous", "Righteous", "Regular"),
    _variable("roboto", "Roboto", 400, 700, axes="wdth,wght"),
    _variable("roboto-slab", "RobotoSlab", 400, 700, italic=False),
    Family("shadows-into-light", ("ShadowsIntoLight.ttf",)),
    _static("spectral", "Spectral", *_RBI),
)
VALIDATION: tuple[Family, ...] = (
    _static("delius", "Delius", "Regular"),
    _variable("libre-baskerville", "LibreBaskerville", 400, 700),
    _variable("montserrat", "Montserrat", 400, 700),
    _variable("oswald", "Oswald", 400, 700, italic=False),
    _static("space-mono", "SpaceMono", *_RBI),
    _static("zilla-slab", "ZillaSlab", *_RBI),
)
TEST: tuple[Family, ...] = (
    _static("arvo", "Arvo", *_RBI),
    _variable("caveat", "Caveat", 400, 700, italic=False),
    _variable("exo-2", "Exo2", 400, 700),
    _variable("lora", "Lora", 400, 700),
    _variable("source-code-pro", "SourceCodePro", 400, 700),
    _variable("vollkorn", "Vollkorn", 400, 700),
    _variable("work-sans", "WorkSans", 400, 700),
)


def find(family: Family) -> dict[str, Path]:
    """The font file of each face.

    Raises:
        UserError: the package is missing, or is another version than the pinned one.
    """
    spec = importlib.util.find_spec(family.package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise UserError(
            f"glyphs needs the package {family.package}, which is not installed:"
            " run `pip install reslab` again, with its dependencies"
        )
    folder = Path(spec.origin).parent / "files"
    found = {face: folder / face.partition("@")[0] for face in family.faces}
    for path in found.values():
        if not path.exists():
            raise UserError(
                f"{family.package} has no {path.name}: install the version that reslab pins"
            )
    return found
